import { crc32, deflateRawSync } from 'node:zlib';
import { encodeNpy } from '../../src/store/npy.ts';
import { decodeNpz } from '../../src/store/npz.ts';

/** The same arrays deflated, as numpy's `savez_compressed` stores them. */
export function packedNpz(npz: Uint8Array): Uint8Array {
  const files: Buffer[] = [];
  const directory: Buffer[] = [];
  let at = 0;
  for (const [name, array] of decodeNpz(npz.slice(), { fileName: 'npz' })) {
    const { header, values } = encodeNpy(array);
    const content = Buffer.concat([header, values]);
    const packed = deflateRawSync(content);
    const fields = Buffer.alloc(26);
    fields.writeUInt16LE(20, 0);
    fields.writeUInt16LE(8, 4);
    fields.writeUInt32LE(crc32(content), 10);
    fields.writeUInt32LE(packed.length, 14);
    fields.writeUInt32LE(content.length, 18);
    fields.writeUInt16LE(name.length + 4, 22);
    const fileName = Buffer.from(`${name}.npy`);
    const place = Buffer.alloc(14);
    place.writeUInt32LE(at, 10);
    files.push(Buffer.from('PK\x03\x04'), fields, fileName, packed);
    directory.push(Buffer.from('PK\x01\x02\x14\x00'), fields, place, fileName);
    at += 30 + fileName.length + packed.length;
  }
  const entries = Buffer.concat(directory);
  const end = Buffer.alloc(22);
  end.write('PK\x05\x06', 'latin1');
  end.writeUInt16LE(files.length / 4, 8);
  end.writeUInt16LE(files.length / 4, 10);
  end.writeUInt32LE(entries.length, 12);
  end.writeUInt32LE(at, 16);
  return new Uint8Array(Buffer.concat([...files, entries, end]));
}
