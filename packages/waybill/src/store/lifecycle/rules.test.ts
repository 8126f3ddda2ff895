import { expect, test } from "vitest";
import { abortTime, DAY_MS, expiryTime, parseLifecycle, type LifecycleRule } from "./rules.ts";

function parse(rules: string): LifecycleRule[] {
  return parseLifecycle(`<LifecycleConfiguration>${rules}</LifecycleConfiguration>`, () => "new");
}

function rule(inner: string): LifecycleRule {
  return parse(`<Rule><ID>r</ID><Status>Enabled</Status>${inner}</Rule>`)[0]!;
}

const subject = {
  key: "tmp/a",
  bytes: 100,
  modified: Date.parse("2026-03-01T10:00:00Z"),
  tags: {},
};

test("expires at the first midnight after the days are over", () => {
  const days = rule(
    "<Filter><Prefix>tmp/</Prefix></Filter><Expiration><Days>2</Days></Expiration>",
  );
  expect(expiryTime(days, subject)).toBe(Date.parse("2026-03-04T00:00:00Z"));
  expect(expiryTime(days, { ...subject, key: "kept/a" })).toBeUndefined();
});

test("expires everything at a date", () => {
  const date = rule("<Filter/><Expiration><Date>2026-05-01T00:00:00Z</Date></Expiration>");
  expect(expiryTime(date, subject)).toBe(Date.parse("2026-05-01T00:00:00Z"));
});

test("wants every part of an And filter to hold", () => {
  const filter =
    rule(`<Filter><And><Prefix>tmp/</Prefix><ObjectSizeGreaterThan>50</ObjectSizeGreaterThan>
    <ObjectSizeLessThan>150</ObjectSizeLessThan><Tag><Key>k</Key><Value>v</Value></Tag></And></Filter>
    <Expiration><Days>1</Days></Expiration>`);
  const tagged = { ...subject, tags: { k: "v" } };
  expect(expiryTime(filter, tagged)).toBeDefined();
  for (const other of [
    subject,
    { ...tagged, bytes: 50 },
    { ...tagged, bytes: 150 },
    { ...tagged, key: "x" },
  ]) {
    expect(expiryTime(filter, other)).toBeUndefined();
  }
});

test("aborts unfinished uploads below the prefix only", () => {
  const abort = rule(
    "<Prefix>tmp/</Prefix><AbortIncompleteMultipartUpload><DaysAfterInitiation>1</DaysAfterInitiation></AbortIncompleteMultipartUpload>",
  );
  const initiated = Date.parse("2026-03-01T00:00:00Z");
  expect(abortTime(abort, "tmp/x", initiated)).toBe(initiated + DAY_MS);
  expect(abortTime(abort, "other", initiated)).toBeUndefined();
  expect(expiryTime(abort, subject)).toBeUndefined();
});

test("leaves everything alone while a rule is disabled", () => {
  const [disabled] = parse(
    "<Rule><Status>Disabled</Status><Filter/><Expiration><Days>1</Days></Expiration></Rule>",
  );
  expect(disabled!.id).toBe("new");
  expect(expiryTime(disabled!, subject)).toBeUndefined();
});

test.each([
  ["no rule", "", "MalformedXML"],
  ["no status", "<Rule><Filter/><Expiration><Days>1</Days></Expiration></Rule>", "MalformedXML"],
  ["no action", "<Rule><Status>Enabled</Status><Filter/></Rule>", "InvalidArgument"],
  [
    "no day",
    "<Rule><Status>Enabled</Status><Filter/><Expiration><Days>0</Days></Expiration></Rule>",
    "InvalidArgument",
  ],
  [
    "days and a date",
    "<Rule><Status>Enabled</Status><Filter/><Expiration><Days>1</Days><Date>2026-05-01T00:00:00Z</Date></Expiration></Rule>",
    "MalformedXML",
  ],
  [
    "one id twice",
    "<Rule><ID>a</ID><Status>Enabled</Status><Filter/><Expiration><Days>1</Days></Expiration></Rule>".repeat(
      2,
    ),
    "InvalidArgument",
  ],
  [
    "a transition",
    "<Rule><Status>Enabled</Status><Filter/><Transition><Days>1</Days></Transition></Rule>",
    "NotImplemented",
  ],
])("refuses a configuration with %s", (_, rules, code) => {
  expect(() => parse(rules)).toThrow(expect.objectContaining({ code }));
});
