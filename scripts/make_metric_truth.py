"""Makes test/evaluation/metric_truth.json again: what scikit-learn and a plain brute force say of small seeded cases.

    apt-get install python3-sklearn
    /usr/bin/python3 scripts/make_metric_truth.py

The numbers come from numpy's RandomState, whose stream is frozen, so only another scikit-learn could change the file.
"""

import json
import textwrap
from pathlib import Path

import numpy as np
import scipy
import sklearn
from scipy.ndimage import label
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

target = Path(__file__).parent.parent / "test" / "evaluation" / "metric_truth.json"
bins = 8192


def image_case(name, seed, ok_count, ng_count, levels, shift):
    """Scores are multiples of 1/1000; few levels make many ties, also between OK and NG."""
    random = np.random.RandomState(seed)
    step = 1000 // levels
    ok = random.randint(0, levels, ok_count) * step / 1000
    ng = (random.randint(0, levels, ng_count) + shift) * step / 1000
    truth = np.r_[np.zeros(ok_count), np.ones(ng_count)]
    scores = np.r_[ok, ng]
    precision, recall, _ = precision_recall_curve(truth, scores)
    total = precision + recall
    f1 = np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)
    return {
        "name": name,
        "ok_scores": ok.tolist(),
        "ng_scores": ng.tolist(),
        "auroc": roc_auc_score(truth, scores),
        "average_precision": average_precision_score(truth, scores),
        "f1_max": f1.max(),
    }


def blobs(random, height, width, count):
    """Discs, which may touch or overlap, and two pixels that touch only at a corner."""
    y, x = np.mgrid[:height, :width]
    mask = np.zeros((height, width), bool)
    for _ in range(count):
        cy, cx, radius = random.randint(height), random.randint(width), random.randint(1, 4)
        mask |= (y - cy) ** 2 + (x - cx) ** 2 <= radius * radius
    if count > 0:
        mask[0, width - 2] = mask[1, width - 1] = True
    return mask


def pixel_case(name, seed, blob_counts, lowest, highest, levels, lift):
    """One picture per blob count (0 = OK); values lie in the middle of bins, so that binning loses nothing."""
    random = np.random.RandomState(seed)
    pictures = []
    for blob_count in blob_counts:
        height, width = random.randint(12, 20), random.randint(16, 28)
        mask = blobs(random, height, width, blob_count)
        step = (highest - lowest) // levels
        bin_map = lowest + step * (random.randint(0, levels, (height, width)) + mask * random.randint(0, lift + 1))
        pictures.append((np.clip(bin_map, 0, bins - 1), mask))
    values = [(bin_map + 0.5) * 2 / bins for bin_map, _ in pictures]
    truth = np.concatenate([mask.ravel() for _, mask in pictures])
    flat = np.concatenate([value.ravel() for value in values])
    regions = []
    for value, (_, mask) in zip(values, pictures):
        labels, count = label(mask, structure=np.ones((3, 3)))
        regions += [value[labels == number] for number in range(1, count + 1)]
    overlaps = [float(t) for t in np.quantile(np.arange(lowest, highest), [0.25, 0.5, 0.9]).round() * 2 / bins]
    return {
        "name": name,
        "pictures": [
            {
                "mask": ["".join(".#"[int(pixel)] for pixel in row) for row in mask],
                "bins": bin_map.ravel().tolist(),
            }
            for bin_map, mask in pictures
        ],
        "regions": len(regions),
        "pixel_auroc": roc_auc_score(truth, flat),
        "au_pro_30": au_pro(regions, flat[~truth], 0.3),
        "au_pro_5": au_pro(regions, flat[~truth], 0.05),
        "overlap_thresholds": overlaps,
        "region_overlaps": [overlap(regions, threshold) for threshold in overlaps],
    }


def overlap(regions, threshold):
    return float(np.mean([np.mean(region >= threshold) for region in regions]))


def au_pro(regions, normal, max_fpr):
    """The curve at every threshold there is, cut at the limit, by the trapezoid rule."""
    thresholds = np.unique(np.concatenate([*regions, normal]))[::-1]
    fpr = np.array([0.0] + [np.mean(normal >= threshold) for threshold in thresholds])
    pro = np.array([0.0] + [overlap(regions, threshold) for threshold in thresholds])
    inside = fpr <= max_fpr
    last = int(inside.sum()) - 1
    fpr_cut, pro_cut = fpr[inside], pro[inside]
    if fpr_cut[-1] < max_fpr:
        share = (max_fpr - fpr[last]) / (fpr[last + 1] - fpr[last])
        fpr_cut = np.append(fpr_cut, max_fpr)
        pro_cut = np.append(pro_cut, pro[last] + share * (pro[last + 1] - pro[last]))
    return float(np.trapz(pro_cut, fpr_cut) / max_fpr)


def written(value, indent=0, before=0):
    """JSON as the repository's formatter writes it: numbers fill lines of 120 characters."""
    inner = " " * (indent + 2)
    if isinstance(value, dict):
        names = [f"{inner}{json.dumps(key)}: " for key in value]
        items = [name + written(item, indent + 2, len(name)) for name, item in zip(names, value.values())]
        return "{\n" + ",\n".join(items) + "\n" + " " * indent + "}"
    if isinstance(value, list) and isinstance(value[0], (int, float)):
        line = ", ".join(json.dumps(item) for item in value)
        if before + len(f"[{line}],") <= 120:
            return f"[{line}]"
        lines = textwrap.wrap(line, 120, initial_indent=inner, subsequent_indent=inner)
        return "[\n" + "\n".join(lines) + "\n" + " " * indent + "]"
    if isinstance(value, list):
        return "[\n" + ",\n".join(inner + written(item, indent + 2) for item in value) + "\n" + " " * indent + "]"
    return json.dumps(value)


truth = {
    "made_with": {"scikit_learn": sklearn.__version__, "scipy": scipy.__version__, "numpy": np.__version__},
    "image_cases": [
        image_case("no ties to speak of", 1, 40, 25, 1000, 150),
        image_case("many ties", 2, 60, 20, 10, 3),
        image_case("many more NG", 3, 6, 70, 25, 2),
        image_case("worse than guessing", 4, 20, 20, 20, -6),
        image_case("perfect order", 5, 12, 9, 5, 5),
        image_case("one of each", 6, 1, 1, 3, 0),
    ],
    "pixel_cases": [
        pixel_case("fine values", 11, [3, 0, 5, 0], 1000, 5000, 2000, 800),
        pixel_case("many ties", 12, [4, 0, 2], 2000, 4000, 12, 6),
        pixel_case("the whole range", 13, [2, 6, 0], 0, 8192, 64, 40),
        pixel_case("no OK picture, guessing", 14, [5, 3], 500, 1500, 250, 0),
        pixel_case("nearly separated", 15, [0, 3, 1], 1200, 1600, 40, 60),
    ],
}
target.write_text(written(truth) + "\n")
for case in truth["image_cases"] + truth["pixel_cases"]:
    print({key: value for key, value in case.items() if isinstance(value, (str, int, float))})
