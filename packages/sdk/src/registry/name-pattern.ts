// Patterns of names: `*` stands for any characters, `?` for one. No regular expression: whatever is asked costs at most
// the product of both lengths.

/** Whether the pattern matches the whole name. */
export function matchesPattern(name: string, pattern: string): boolean {
  let at = 0;
  let rest = 0;
  /** After the last star: where the pattern goes on, and how much of the name the star has taken. */
  let star: { pattern: number; name: number } | undefined;
  while (at < name.length) {
    const wanted = pattern[rest];
    if (wanted === "*") {
      rest += 1;
      star = { pattern: rest, name: at };
    } else if (wanted === "?" || wanted === name[at]) {
      at += 1;
      rest += 1;
    } else if (star !== undefined) {
      star.name += 1;
      at = star.name;
      rest = star.pattern;
    } else return false;
  }
  return /^\**$/.test(pattern.slice(rest));
}
