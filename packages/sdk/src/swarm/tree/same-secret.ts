// Whether two secrets are the same, in a time that tells nothing of where they differ.

/** Both of one known length, as hex of fixed size is; of different lengths they differ at once. */
export function isSameSecret(one: string, other: string): boolean {
  if (one.length !== other.length) return false;
  let differing = 0;
  for (let at = 0; at < one.length; at++) differing |= one.charCodeAt(at) ^ other.charCodeAt(at);
  return differing === 0;
}
