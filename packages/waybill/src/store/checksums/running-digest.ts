/** Something bytes are fed to and, once, a digest comes out of. */
export interface RunningDigest {
  update(data: Uint8Array): void;
  digest(): Buffer;
}
