// Facts under names, in a column of text that fits the screen.

/** Breaks text at spaces so that its lines have at most `width` characters; longer words stay whole, to be copied. */
export function wrapText(text: string, width: number): string[] {
  return text.split("\n").flatMap((line) => {
    const lines: string[] = [];
    let current = "";
    for (const word of line.split(" ")) {
      if (current !== "" && current.length + 1 + word.length > width) {
        lines.push(current);
        current = word;
      } else {
        current = current === "" ? word : `${current} ${word}`;
      }
    }
    return [...lines, current];
  });
}

/** `name      value`, the value's further lines below its first; a name alone for an absent one is left out. */
export function factLines(
  facts: readonly (readonly [name: string, value: string | undefined])[],
  { width, indent = 0 }: { readonly width: number; readonly indent?: number },
): string[] {
  const shown = facts.filter((fact): fact is [string, string] => fact[1] !== undefined);
  // A few long names must not squeeze all the values.
  const column = Math.min(
    Math.max(0, ...shown.map(([name]) => name.length)) + 2,
    Math.floor(width / 2) - indent,
  );
  const before = " ".repeat(indent);
  return shown.flatMap(([name, value]) => {
    const [first = "", ...rest] = wrapText(value, width - indent - column);
    const below = rest.map((line) => `${before}${" ".repeat(column)}${line}`);
    if (name.length + 2 <= column) return [`${before}${name.padEnd(column)}${first}`, ...below];
    return [`${before}${name}`, `${before}${" ".repeat(column)}${first}`, ...below];
  });
}

/** The text cut to a width, the last character saying that there was more. */
export function clipText(text: string, width: number): string {
  const characters = Array.from(text);
  return characters.length <= width ? text : `${characters.slice(0, width - 1).join("")}…`;
}
