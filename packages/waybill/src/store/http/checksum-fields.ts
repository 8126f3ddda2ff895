/** Checksums as elements of S3's XML. */
import { checksumElement, type StoredChecksum } from "../checksums/checksum.ts";
import { text } from "./xml-writer.ts";

/** `ChecksumCRC32` and `ChecksumType`; nothing when there is no checksum. */
export function checksumFields(checksum: StoredChecksum | undefined): string {
  if (!checksum) return "";
  return (
    text(checksumElement(checksum.algorithm), checksum.value) + text("ChecksumType", checksum.type)
  );
}
