/**
 * Just enough XML to read S3's request bodies: elements, text, CDATA, comments and the predefined
 * and numeric entities. No DOCTYPE, so no entity can be declared and none can explode.
 */
import { S3Error } from "../s3-error.ts";

export interface XmlElement {
  /** Local name, without a namespace prefix. */
  readonly name: string;
  readonly children: readonly XmlElement[];
  /** The text directly inside, entities resolved. */
  readonly text: string;
}

interface Building {
  readonly name: string;
  readonly tag: string;
  readonly children: XmlElement[];
  text: string;
}

const MAX_DEPTH = 16;
const entities: Readonly<Record<string, string>> = {
  lt: "<",
  gt: ">",
  amp: "&",
  quot: '"',
  apos: "'",
};

/** One token: comment, declaration, CDATA, closing tag, opening tag, or a run of text. */
const token =
  /<!--[\s\S]*?-->|<\?[\s\S]*?\?>|<!\[CDATA\[([\s\S]*?)\]\]>|<\/\s*([^\s<>/]+)\s*>|<([^\s<>/!?]+)((?:\s+[^\s=<>]+\s*=\s*(?:"[^"<]*"|'[^'<]*'))*)\s*(\/?)>|([^<]+)/y;

/**
 * Parses a document and checks the name of its root.
 *
 * @throws S3Error `MalformedXML`
 */
export function parseXml(source: string, root: string): XmlElement {
  const stack: Building[] = [];
  let found: XmlElement | undefined;
  const close = (done: Building): void => {
    const element = { name: done.name, children: done.children, text: done.text };
    const parent = stack.at(-1);
    if (parent) parent.children.push(element);
    else found = element;
  };
  let at = source.startsWith("\ufeff") ? 1 : 0;
  while (at < source.length) {
    token.lastIndex = at;
    const match = token.exec(source);
    if (!match) throw malformed();
    at = token.lastIndex;
    const [, cdata, closing, opening, , selfClosing, plain] = match;
    const current = stack.at(-1);
    if (plain !== undefined || cdata !== undefined) {
      const content = cdata ?? resolveEntities(plain ?? "");
      if (current) current.text += content;
      else if (content.trim() !== "") throw malformed();
    } else if (opening !== undefined) {
      if (found ?? stack.length >= MAX_DEPTH) throw malformed();
      const building = { name: localName(opening), tag: opening, children: [], text: "" };
      if (selfClosing) close(building);
      else stack.push(building);
    } else if (closing !== undefined) {
      const done = stack.pop();
      if (done?.tag !== closing) throw malformed();
      close(done);
    }
  }
  if (stack.length > 0 || found?.name !== root) throw malformed();
  return found;
}

/** The first child with a name. */
export function child(parent: XmlElement, name: string): XmlElement | undefined {
  return parent.children.find((one) => one.name === name);
}

/** All children with a name. */
export function childrenNamed(parent: XmlElement, name: string): XmlElement[] {
  return parent.children.filter((one) => one.name === name);
}

/** The text of the first child with a name. */
export function childText(parent: XmlElement, name: string): string | undefined {
  return child(parent, name)?.text;
}

function localName(tag: string): string {
  return tag.slice(tag.indexOf(":") + 1);
}

function resolveEntities(text: string): string {
  if (!text.includes("&")) return text;
  return text.replaceAll(/&([^;]{0,12});?/g, (_, name: string) => {
    const named = entities[name];
    if (named !== undefined) return named;
    const numeric = /^#(?:x([0-9a-fA-F]{1,6})|(\d{1,7}))$/.exec(name);
    if (!numeric) throw malformed();
    const code = numeric[1] ? Number.parseInt(numeric[1], 16) : Number(numeric[2]);
    if (code > 0x10ffff) throw malformed();
    return String.fromCodePoint(code);
  });
}

/** The error for a body that does not follow its schema. */
export function malformed(): S3Error {
  return new S3Error("MalformedXML");
}
