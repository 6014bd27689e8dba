import { InspectionError } from '../errors.ts';
import {
  bytesField,
  encodeMessage,
  floatField,
  int64Field,
  type Message,
  messageField,
  stringField,
} from './protobuf.ts';

/** A value inside a graph: the output of a node, an input or a constant, by name. */
export type Value = string & { readonly __value?: never };

export type ElementType = 'float32' | 'int32' | 'int64' | 'uint8' | 'int8' | 'bool';

/** A dimension: a number, or a name for one that is free (such as the batch). */
export type Dimension = number | string;

/** A float attribute; bare numbers are integers, because ONNX tells `1` from `1.0`. */
export interface FloatAttribute {
  readonly float: number;
}

export type Attribute = number | readonly number[] | string | FloatAttribute;

type ConstantData = Float32Array | Int32Array | BigInt64Array | Uint8Array | Int8Array;

/** Writes one ONNX graph, node by node; `encode` gives the file. */
export interface GraphBuilder {
  input(name: string, type: ElementType, dims: readonly Dimension[]): Value;
  /** An initialiser. The array is not copied until `encode`. @throws InspectionError `shape_mismatch` */
  constant(dims: readonly number[], data: ConstantData, name?: string): Value;
  /** A one-dimensional int64 constant: shapes, axes, slice bounds. */
  ints(values: readonly number[]): Value;
  /** A scalar float32 constant. */
  scalar(value: number): Value;
  /** Adds a node with one output and returns it. */
  op(type: string, inputs: readonly Value[], attributes?: Readonly<Record<string, Attribute>>, domain?: string): Value;
  /** Adds a node with several outputs. */
  ops(
    type: string,
    inputs: readonly Value[],
    outputs: number,
    attributes?: Readonly<Record<string, Attribute>>,
    domain?: string,
  ): readonly Value[];
  /** Declares `value` as a graph output called `name`. */
  output(value: Value, name: string, type: ElementType, dims: readonly Dimension[]): void;
  /** The ONNX file: equal calls give equal bytes. */
  encode(): Uint8Array;
}

/** ONNX's own default for the default domain here; every operator we use exists in it. */
const opset = 17;
const irVersion = 8;

/** ONNX's numbers of the types, as `Cast` wants them. */
export const elementTypes: Readonly<Record<ElementType, number>> = {
  float32: 1,
  uint8: 2,
  int8: 3,
  int32: 6,
  int64: 7,
  bool: 9,
};

const attributeType = { float: 1, int: 2, string: 3, ints: 7 } as const;

/**
 * Starts an empty graph. Field numbers are those of `onnx.proto` (ONNX 1.16).
 *
 * @param name the graph's name, shown by viewers
 */
export function createGraph(name: string): GraphBuilder {
  const nodes: Message[] = [];
  const initializers: Message[] = [];
  const inputs: Message[] = [];
  const outputs: Message[] = [];
  const domains = new Set<string>();
  let names = 0;

  const fresh = (hint: string): Value => `${hint}_${names++}`;

  const addNode: GraphBuilder['ops'] = (type, nodeInputs, count, attributes = {}, domain = '') => {
    const made = Array.from({ length: count }, () => fresh(type));
    if (domain !== '') domains.add(domain);
    nodes.push(
      messageField(1, [
        ...nodeInputs.map((input) => stringField(1, input)),
        ...made.map((output) => stringField(2, output)),
        stringField(3, made[0] ?? ''),
        stringField(4, type),
        ...Object.entries(attributes).map(([key, value]) => messageField(5, attributeFields(key, value))),
        ...(domain === '' ? [] : [stringField(7, domain)]),
      ]),
    );
    return made;
  };

  const constant: GraphBuilder['constant'] = (dims, data, constantName = fresh('constant')) => {
    const size = dims.reduce((product, dim) => product * dim, 1);
    if (size !== data.length) {
      throw new InspectionError('shape_mismatch', `A constant of shape [${dims}] cannot hold ${data.length} numbers.`);
    }
    initializers.push(
      messageField(5, [
        ...dims.map((dim) => int64Field(1, dim)),
        int64Field(2, elementTypes[elementTypeOf(data)]),
        stringField(8, constantName),
        bytesField(9, new Uint8Array(data.buffer, data.byteOffset, data.byteLength)),
      ]),
    );
    return constantName;
  };

  return {
    input: (inputName, type, dims) => {
      inputs.push(valueInfo(11, inputName, type, dims));
      return inputName;
    },
    constant,
    ints: (values) => constant([values.length], BigInt64Array.from(values, BigInt)),
    scalar: (value) => constant([], Float32Array.of(value)),
    op: (type, nodeInputs, attributes, domain) => addNode(type, nodeInputs, 1, attributes, domain)[0] as Value,
    ops: addNode,
    output: (value, outputName, type, dims) => {
      nodes.push(
        messageField(1, [
          stringField(1, value),
          stringField(2, outputName),
          stringField(3, outputName),
          stringField(4, 'Identity'),
        ]),
      );
      outputs.push(valueInfo(12, outputName, type, dims));
    },
    encode: () =>
      encodeMessage([
        int64Field(1, irVersion),
        stringField(2, 'okng'),
        messageField(7, [...nodes, stringField(2, name), ...initializers, ...inputs, ...outputs]),
        messageField(8, [stringField(1, ''), int64Field(2, opset)]),
        ...[...domains].map((domain) => messageField(8, [stringField(1, domain), int64Field(2, 1)])),
      ]),
  };
}

function elementTypeOf(data: ConstantData): ElementType {
  if (data instanceof Float32Array) return 'float32';
  if (data instanceof Int32Array) return 'int32';
  if (data instanceof BigInt64Array) return 'int64';
  return data instanceof Uint8Array ? 'uint8' : 'int8';
}

function attributeFields(name: string, value: Attribute): readonly Message[] {
  const nameField = stringField(1, name);
  if (typeof value === 'string') return [nameField, stringField(4, value), int64Field(20, attributeType.string)];
  if (typeof value === 'number') {
    if (!Number.isInteger(value)) {
      throw new InspectionError(
        'shape_mismatch',
        `Attribute ${name} = ${value} is not an integer; write {float: ${value}}.`,
      );
    }
    return [nameField, int64Field(3, value), int64Field(20, attributeType.int)];
  }
  if ('float' in value) return [nameField, floatField(2, value.float), int64Field(20, attributeType.float)];
  return [nameField, ...value.map((item) => int64Field(8, item)), int64Field(20, attributeType.ints)];
}

function valueInfo(field: number, name: string, type: ElementType, dims: readonly Dimension[]): Message {
  const shape = dims.map((dim) =>
    messageField(1, [typeof dim === 'number' ? int64Field(1, dim) : stringField(2, dim)]),
  );
  const tensor = messageField(1, [int64Field(1, elementTypes[type]), messageField(2, shape)]);
  return messageField(field, [stringField(1, name), messageField(2, [tensor])]);
}
