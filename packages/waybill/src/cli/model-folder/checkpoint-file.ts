// One file of weights by itself. What kind of model it is, none of these formats says; safetensors tells its size.
import { type Detected, isRecord } from "./detected.ts";
import type { ModelFolder } from "./folder.ts";
import { publicSettings } from "./settings.ts";

const FORMATS: Readonly<Record<string, string>> = {
  pt: "PyTorch",
  pth: "PyTorch",
  ckpt: "checkpoint",
  bin: "weights",
  safetensors: "safetensors",
  h5: "HDF5",
  hdf5: "HDF5",
  keras: "Keras",
  onnx: "ONNX",
  gguf: "GGUF",
  tflite: "TensorFlow Lite",
  npz: "NumPy",
  joblib: "joblib",
  pkl: "pickle",
  mlmodel: "Core ML",
};
/** Formats that run code when they are loaded. */
const RUNS_CODE = new Set(["pt", "pth", "ckpt", "bin", "pkl", "joblib"]);
/** As its own library has it. */
const MAX_HEADER_BYTES = 100 * 1024 * 1024;

/** undefined unless there is exactly one file of weights, whatever lies beside it. */
export async function detectCheckpoint(folder: ModelFolder): Promise<Detected | undefined> {
  const files = folder.scan.files.map((file) => file.path).filter((file) => formatOf(file));
  const [file] = files;
  if (file === undefined || files.length > 1) return undefined;
  const extension = extensionOf(file);
  const header = extension === "safetensors" ? await safetensorsHeader(folder, file) : undefined;
  const { config, warnings } = publicSettings(header?.metadata ?? {});
  return {
    format: "checkpoint",
    config,
    metrics: header === undefined ? {} : { parameters: header.parameters },
    tags: [],
    found: [
      ["weights", `${file} (${formatOf(file)})`],
      ...(header === undefined
        ? []
        : [["size", `${header.parameters} parameters in ${header.tensors} tensors`] as const]),
    ],
    missing: ["type", "config", "training metrics"],
    warnings: [
      ...warnings,
      ...(RUNS_CODE.has(extension)
        ? [`${file} may run code when it is loaded: load it only if you trust where it is from`]
        : []),
    ],
  };
}

function extensionOf(file: string): string {
  return file.slice(file.lastIndexOf(".") + 1).toLowerCase();
}

function formatOf(file: string): string | undefined {
  const extension = extensionOf(file);
  return Object.hasOwn(FORMATS, extension) ? FORMATS[extension] : undefined;
}

/** Eight bytes of length, then JSON: tensors by name, and `__metadata__` of texts. undefined when it is not that. */
async function safetensorsHeader(folder: ModelFolder, file: string) {
  const start = await folder.bytes(file, 0, 8);
  if (start.length < 8) return undefined;
  const length = start.readBigUInt64LE();
  if (length > BigInt(Math.min(MAX_HEADER_BYTES, folder.size(file)))) return undefined;
  try {
    const text = (await folder.bytes(file, 8, Number(length))).toString("utf8");
    const header: unknown = JSON.parse(text);
    if (!isRecord(header)) return undefined;
    const { __metadata__: metadata, ...tensors } = header;
    const parameters = Object.values(tensors).reduce(
      (sum: number, tensor) => sum + elements(tensor),
      0,
    );
    const count = Object.keys(tensors).length;
    return { parameters, tensors: count, metadata: isRecord(metadata) ? metadata : {} };
  } catch {
    return undefined;
  }
}

function elements(tensor: unknown): number {
  const shape = isRecord(tensor) ? tensor["shape"] : undefined;
  if (!Array.isArray(shape)) return 0;
  return shape.reduce((product: number, one) => product * Number(one), 1);
}
