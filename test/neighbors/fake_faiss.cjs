/**
 * Stands in for faiss-node where that is not built, and does on demand what would be hard to make FAISS do. Used by an addon
 * file `module.exports = require('…/fake_faiss.cjs')(__dirname)`: in that folder `calls` names everything that was called, and
 * each search first follows the first line of `orders`, which it takes away.
 *
 * Its distances are off by nearly what float32 allows, and of equal ones it puts the last row first.
 */
const { appendFileSync, existsSync, readFileSync, writeFileSync } = require('node:fs');
const { join } = require('node:path');

/** What this process says it holds. */
let resident = 50e6;
process.memoryUsage.rss = () => resident;

const orders = {
  die: () => process.kill(process.pid, 'SIGKILL'),
  exit: () => process.exit(3),
  hang: () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0),
  throw: () => {
    throw new Error('as ordered');
  },
  leak: () => {
    resident += 1e9;
  },
};

module.exports = (folder) => {
  const note = (...words) => appendFileSync(join(folder, 'calls'), `${[process.pid, ...words].join(' ')}\n`);
  note('environment', ...Object.keys(process.env).sort());

  const nextOrder = () => {
    const path = join(folder, 'orders');
    const [order = '', ...rest] = existsSync(path) ? readFileSync(path, 'utf8').split('\n') : [];
    writeFileSync(path, rest.join('\n'));
    return order;
  };

  class IndexFlatL2 {
    constructor(cols) {
      this.cols = cols;
      this.data = [];
    }

    add(numbers) {
      note('add', numbers.length);
      if (!Array.isArray(numbers)) throw new Error('takes plain arrays only');
      resident += 4 * numbers.length;
      const data = new Float32Array(this.data.length + numbers.length);
      data.set(this.data);
      data.set(numbers, this.data.length);
      this.data = data;
    }

    ntotal() {
      return this.data.length / this.cols;
    }

    search(numbers, count) {
      note('search', numbers.length / this.cols, count);
      if (!Array.isArray(numbers)) throw new Error('takes plain arrays only');
      const order = nextOrder();
      orders[order]?.();
      const found = { distances: [], labels: [] };
      for (let at = 0; at < numbers.length; at += this.cols) {
        const near = this.nearest(numbers.slice(at, at + this.cols), count);
        for (let place = 0; place < count; place++) {
          found.distances.push(near[place]?.distance ?? 3.4e38);
          found.labels.push(order === 'nonsense' ? 1e6 : (near[place]?.row ?? -1));
        }
      }
      // As if the search had gone to other rows: the right distances, but of none of these.
      if (order === 'mix up') found.labels.reverse();
      return found;
    }

    nearest(query, count) {
      const best = [];
      for (let row = 0; row < this.ntotal(); row++) {
        const distance = this.distance(query, row);
        if (distance > 3.4e38 || (best.length === count && distance > best[count - 1].distance)) continue;
        const behind = best.findIndex((other) => distance <= other.distance);
        best.splice(behind < 0 ? best.length : behind, 0, { row, distance });
        if (best.length > count) best.pop();
      }
      return best;
    }

    distance(query, row) {
      let square = 0;
      let lengths = 0;
      for (let i = 0; i < this.cols; i++) {
        const value = this.data[row * this.cols + i];
        square += (query[i] - value) ** 2;
        lengths += 2 * (query[i] ** 2 + value ** 2);
      }
      const off = ((row * 7919) % 11) / 5 - 1;
      return Math.fround(Math.max(0, square + (off * this.cols * lengths) / 2 ** 26));
    }
  }

  return { IndexFlatL2 };
};
