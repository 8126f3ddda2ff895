// TensorFlow's `Event` message with the fields that scalars need, in protocol buffers' encoding by hand:
//
//   Event { double wall_time = 1; int64 step = 2; string file_version = 3; Summary summary = 5 }
//   Summary { repeated Value value = 1 }    Value { string tag = 1; float simple_value = 2 }

export type Scalar = { readonly tag: string; readonly value: number };

const FILE_VERSION = "brain.Event:2";

/** The first event of every file. `wallTime` in seconds since 1970. */
export function encodeFileVersion(wallTime: number): Buffer {
  return Buffer.concat([double(1, wallTime), bytes(3, Buffer.from(FILE_VERSION))]);
}

export function encodeScalars(wallTime: number, step: number, scalars: readonly Scalar[]): Buffer {
  const values = scalars.map(({ tag, value }) =>
    bytes(1, Buffer.concat([bytes(1, Buffer.from(tag)), float(2, value)])),
  );
  return Buffer.concat([
    double(1, wallTime),
    Buffer.concat([key(2, VARINT), varint(BigInt(step))]),
    bytes(5, Buffer.concat(values)),
  ]);
}

const VARINT = 0;
const FIXED64 = 1;
const BYTES = 2;
const FIXED32 = 5;

function key(field: number, type: number): Buffer {
  return varint(BigInt(field * 8 + type));
}

function double(field: number, value: number): Buffer {
  const data = Buffer.alloc(8);
  data.writeDoubleLE(value);
  return Buffer.concat([key(field, FIXED64), data]);
}

function float(field: number, value: number): Buffer {
  const data = Buffer.alloc(4);
  data.writeFloatLE(value);
  return Buffer.concat([key(field, FIXED32), data]);
}

function bytes(field: number, data: Buffer): Buffer {
  return Buffer.concat([key(field, BYTES), varint(BigInt(data.length)), data]);
}

/** Negative numbers take ten bytes, as two's complement of 64 bits. */
function varint(value: bigint): Buffer {
  const out: number[] = [];
  let rest = BigInt.asUintN(64, value);
  while (rest >= 0x80n) {
    out.push(Number(rest & 0x7fn) | 0x80);
    rest >>= 7n;
  }
  out.push(Number(rest));
  return Buffer.from(out);
}
