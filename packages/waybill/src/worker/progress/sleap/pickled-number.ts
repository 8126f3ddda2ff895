// NumPy's scalars as jsonpickle writes them: a call of numpy's `scalar` with a type and bytes. Everything else of
// jsonpickle stays what it is; nothing is ever called.

const READERS: Readonly<Record<string, (bytes: DataView) => number>> = {
  f2: (bytes) => bytes.getFloat16(0, true),
  f4: (bytes) => bytes.getFloat32(0, true),
  f8: (bytes) => bytes.getFloat64(0, true),
  i4: (bytes) => bytes.getInt32(0, true),
  i8: (bytes) => Number(bytes.getBigInt64(0, true)),
};

/** The value with numbers in the place of pickled NumPy scalars; those that are not finite become their names. */
export function readPickled(value: unknown): unknown {
  return walk(value, new Map());
}

/** `types`: a type is written out once and referred to by a number afterwards; its size tells which is meant. */
function walk(value: unknown, types: Map<number, string>): unknown {
  if (Array.isArray(value)) return value.map((one) => walk(one, types));
  if (!isObject(value)) return value;
  const number = scalarOf(value, types);
  if (number !== undefined) return Number.isFinite(number) ? number : String(number);
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, walk(one, types)]));
}

function scalarOf(value: object, types: Map<number, string>): number | undefined {
  const [callee, args] = items(value, "py/reduce");
  const name = field(callee, "py/function") ?? field(callee, "py/type");
  if (typeof name !== "string" || !/^numpy\..*\bscalar$/.test(name)) return undefined;
  const [type, data] = items(args, "py/tuple");
  const text = field(data, "py/b64");
  if (typeof text !== "string") return undefined;
  const bytes = Buffer.from(text, "base64");
  const [, typeArgs] = items(type, "py/reduce");
  const [written] = items(typeArgs, "py/tuple");
  if (typeof written === "string") types.set(bytes.length, written);
  const code = types.get(bytes.length);
  const read = code === undefined ? undefined : READERS[code];
  if (read === undefined || Number(code?.slice(1)) !== bytes.length) return undefined;
  return read(new DataView(bytes.buffer, bytes.byteOffset, bytes.length));
}

function items(value: unknown, key: string): readonly unknown[] {
  const found = field(value, key);
  return Array.isArray(found) ? found : [];
}

function field(value: unknown, key: string): unknown {
  return isObject(value) ? Reflect.get(value, key) : undefined;
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}
