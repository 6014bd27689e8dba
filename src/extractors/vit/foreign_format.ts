/** What a file of another kind begins with, what it is, and what to give instead. */
interface ForeignFormat {
  readonly recognise: (start: FileStart) => boolean;
  readonly sentence: string;
}

interface FileStart {
  readonly bytes: Uint8Array;
  /** The bytes as Latin-1 in lower case, blanks and byte order mark at the start left out. */
  readonly text: string;
}

const giveSafetensors =
  "give the model's `model.safetensors` instead, or save its state dict with safetensors.torch.save_file";

const beginsWith =
  (...signature: readonly number[]) =>
  ({ bytes }: FileStart): boolean =>
    signature.every((byte, i) => bytes[i] === byte);

const zip = beginsWith(0x50, 0x4b, 0x03, 0x04);

/** Field 1 of ONNX's ModelProto is ir_version; one of its texts, its graph or its operator set follows. */
function isOnnx({ bytes }: FileStart): boolean {
  const [tag, version = 0, next = 0] = bytes;
  return tag === 0x08 && version >= 1 && version < 0x80 && [0x12, 0x1a, 0x22, 0x28, 0x32, 0x3a, 0x42].includes(next);
}

/** Pickle's PROTO opcode with protocol 2 to 5. */
function isPickle({ bytes }: FileStart): boolean {
  const [opcode, protocol = 0] = bytes;
  return opcode === 0x80 && protocol >= 2 && protocol <= 5;
}

const formats: readonly ForeignFormat[] = [
  {
    recognise: (start) => zip(start) && start.text.includes('data.pkl'),
    sentence: `it is a PyTorch checkpoint (a zip with a pickle, which can run code when it is loaded): ${giveSafetensors}`,
  },
  { recognise: zip, sentence: 'it is a zip archive: unpack it and give the .safetensors file' },
  {
    recognise: isPickle,
    sentence: `it is a pickle, such as an old PyTorch checkpoint (which can run code when it is loaded): ${giveSafetensors}`,
  },
  {
    recognise: ({ text }) => text.startsWith('version https://git-lfs'),
    sentence:
      'it is a Git LFS pointer, a short text that stands for the real file: fetch that with `git lfs pull`, or download it by itself',
  },
  {
    recognise: ({ text }) => text.startsWith('<'),
    sentence:
      'it is a web page (HTML or XML): the download gave a page to log in, a licence to accept or an error; download the file itself',
  },
  { recognise: beginsWith(0x1f, 0x8b), sentence: 'it is compressed with gzip: unpack it first' },
  { recognise: beginsWith(0x28, 0xb5, 0x2f, 0xfd), sentence: 'it is compressed with zstd: unpack it first' },
  {
    recognise: isOnnx,
    sentence: 'it seems to be an ONNX model, which is installed with a model card of its own: give a .safetensors file',
  },
  {
    recognise: beginsWith(0x89, 0x48, 0x44, 0x46),
    sentence: `it is an HDF5 file, such as Keras's .h5: ${giveSafetensors}`,
  },
  { recognise: beginsWith(0x47, 0x47, 0x55, 0x46), sentence: `it is a GGUF file: ${giveSafetensors}` },
  { recognise: beginsWith(0x93, 0x4e, 0x55, 0x4d), sentence: `it is a numpy array: ${giveSafetensors}` },
  {
    recognise: ({ text }) => text.startsWith('{') || text.startsWith('['),
    sentence:
      'it is JSON text, such as config.json or the index of a model in several files: give the .safetensors file beside it',
  },
];

/**
 * Says what a file that is no safetensors file seems to be and what to give instead; undefined when nothing is known.
 *
 * @param bytes the file's first few hundred bytes. A safetensors file may begin with any eight bytes: ask only about
 *   files that cannot be one
 */
export function foreignFormat(bytes: Uint8Array): string | undefined {
  const text = new TextDecoder('latin1').decode(bytes).replace(/^ï»¿/, '').trimStart().toLowerCase();
  return formats.find(({ recognise }) => recognise({ bytes, text }))?.sentence;
}
