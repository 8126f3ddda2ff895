/** S3's XML, written. Functions return markup; only `text` takes (and escapes) plain text. */

const NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/";
const DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n';

/** An element around markup. */
export function element(name: string, ...children: readonly string[]): string {
  return `<${name}>${children.join("")}</${name}>`;
}

/** An element around text; nothing at all when the value is undefined. */
export function text(name: string, value: string | number | boolean | undefined): string {
  return value === undefined ? "" : `<${name}>${escapeText(String(value))}</${name}>`;
}

/** A whole document in S3's namespace. */
export function xmlDocument(root: string, ...children: readonly string[]): string {
  return `${DECLARATION}<${root} xmlns="${NAMESPACE}">${children.join("")}</${root}>`;
}

/** A whole document without namespace, which is how S3 writes errors. */
export function plainDocument(root: string, ...children: readonly string[]): string {
  return DECLARATION + element(root, ...children);
}

const escapes: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
};

/** Control characters become references: S3 does so too, and parsers would normalise a bare CR. */
function escapeText(value: string): string {
  return value.replaceAll(
    /[&<>"\p{Cc}]/gu,
    (mark) => escapes[mark] ?? `&#x${mark.charCodeAt(0).toString(16).toUpperCase()};`,
  );
}

/** A time as S3's XML writes it: ISO 8601, whole seconds. */
export function isoTime(time: number): string {
  return `${new Date(time).toISOString().slice(0, 19)}.000Z`;
}
