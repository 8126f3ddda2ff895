import * as fc from "fast-check";
import { expect, test } from "vitest";
import { childrenNamed, childText, parseXml } from "./xml-reader.ts";
import { element, isoTime, text, xmlDocument } from "./xml-writer.ts";

test("reads back whatever text it writes", () => {
  fc.assert(
    fc.property(fc.string({ unit: "grapheme" }), (value) => {
      const document = xmlDocument("Root", element("Inner", text("Key", value)));
      const inner = parseXml(document, "Root").children[0];
      expect(inner && childText(inner, "Key")).toBe(value);
    }),
  );
});

test("reads attributes, prefixes, comments, CDATA and empty elements past", () => {
  const source = `<?xml version="1.0"?><!-- note -->
    <s3:Delete xmlns:s3="http://s3.amazonaws.com/doc/2006-03-01/">
      <s3:Object><s3:Key>a &amp; b &#x41;&#66;</s3:Key></s3:Object>
      <Object><Key><![CDATA[<raw>]]></Key><VersionId/></Object>
    </s3:Delete>`;
  const objects = childrenNamed(parseXml(source, "Delete"), "Object");
  expect(objects.map((object) => childText(object, "Key"))).toEqual(["a & b AB", "<raw>"]);
  expect(childText(objects[1]!, "VersionId")).toBe("");
});

test.each([
  ["", "is empty"],
  ["<Other/>", "has another root"],
  ["<Delete><Object></Delete>", "is not nested"],
  ["<Delete/><Delete/>", "has two roots"],
  ["<Delete>&unknown;</Delete>", "has an unknown entity"],
  ["<!DOCTYPE d [<!ENTITY a 'b'>]><Delete>&a;</Delete>", "declares entities"],
  [`${"<a>".repeat(40)}${"</a>".repeat(40)}`, "is too deep"],
])("refuses a document: %s (%s)", (source) => {
  expect(() => parseXml(source, "Delete")).toThrow(
    expect.objectContaining({ code: "MalformedXML" }),
  );
});

test("leaves out text elements without a value", () => {
  expect(text("Marker", undefined)).toBe("");
  expect(text("Marker", "")).toBe("<Marker></Marker>");
});

test("writes times in whole seconds", () => {
  expect(isoTime(1_700_000_000_987)).toBe("2023-11-14T22:13:20.000Z");
});
