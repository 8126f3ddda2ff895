import { describe, expect, it } from "vitest";
import { findUpload } from "./uploads.ts";

describe("the upload that is meant", () => {
  const open = ["u_0123456789abcdef01234567", "u_0123ffff89abcdef01234567"].map((upload, at) => ({
    upload,
    name: `n${at}`,
  }));
  const find = (text: string) => findUpload(open, text, "lab").upload;

  it("is found by its id and by a unique prefix, with or without u_", () => {
    for (const text of ["u_0123456789abcdef01234567", "u_01234", "01234", "0123F"]) {
      expect(open.map(({ upload }) => upload)).toContain(find(text));
    }
    expect(find("0123f")).toBe("u_0123ffff89abcdef01234567");
  });

  it("is not guessed", () => {
    expect(() => find("0123")).toThrow(expect.objectContaining({ code: "conflict" }));
    expect(() => find("ffff")).toThrow(expect.objectContaining({ code: "not_found" }));
    for (const text of ["u_", "012", "digits", "", "0123456789abcdef012345678"]) {
      expect(() => find(text), text).toThrow(expect.objectContaining({ code: "invalid_request" }));
    }
  });
});
