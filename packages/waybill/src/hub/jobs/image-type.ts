// What kind of image some bytes are, by their first bytes; names and headers may say anything.

export type ImageType = "png" | "jpg" | "webp" | "gif";

/** The image's type as its usual file extension; `undefined` for anything else. */
export function imageTypeOf(bytes: Uint8Array): ImageType | undefined {
  const head = Buffer.from(bytes.subarray(0, 12)).toString("latin1");
  if (head.startsWith("\u0089PNG\r\n\u001A\n")) return "png";
  if (head.startsWith("\u00FF\u00D8\u00FF")) return "jpg";
  if (head.startsWith("GIF87a") || head.startsWith("GIF89a")) return "gif";
  if (head.startsWith("RIFF") && head.slice(8) === "WEBP") return "webp";
  return undefined;
}
