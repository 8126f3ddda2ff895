// Python's json writes NaN and Infinity as bare words, which JSON does not have. A loss that became NaN is
// what a person most wants to see, so those words are read as strings.

const WORD = /"(?:[^"\\]|\\.)*"|-?\b(?:NaN|Infinity)\b/g;

/** A line of JSON with bare `NaN`, `Infinity` and `-Infinity` outside of strings put in quotes. */
export function quoteNonFinite(line: string): string {
  if (!/^[[{]/.test(line) || !/NaN|Infinity/.test(line)) return line;
  return line.replace(WORD, (token) => (token.startsWith('"') ? token : `"${token}"`));
}
