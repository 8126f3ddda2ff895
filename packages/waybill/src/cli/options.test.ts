import { describe, expect, it } from "vitest";
import {
  address,
  byteSize,
  collect,
  collectEnvironment,
  collectPairs,
  duration,
  filePath,
  port,
  progressFormat,
  wholeNumber,
} from "./options.ts";

describe("option values", () => {
  it("reads sizes and times with their units", () => {
    expect([byteSize("500M"), byteSize("24g"), byteSize("1.5KiB"), byteSize("7")]).toEqual([
      500 * 1024 ** 2,
      24 * 1024 ** 3,
      1536,
      7,
    ]);
    expect([duration("90s"), duration("2h"), duration("250ms")]).toEqual([90_000, 7_200_000, 250]);
  });

  it("refuses what is neither", () => {
    for (const wrong of ["", "big", "-1", "5X"]) expect(() => byteSize(wrong)).toThrow("500M");
    for (const wrong of ["", "2 hours", "-1s"]) expect(() => duration(wrong)).toThrow("90s");
    expect(() => wholeNumber(1)("0")).toThrow("at least 1");
    expect(() => wholeNumber(1)("1.5")).toThrow("whole number");
    expect(() => filePath("")).toThrow("empty");
    expect(() => collectPairs("=x")).toThrow("key=value");
  });

  it("collects what is repeated, values with '=' included", () => {
    expect(collect("b", collect("a"))).toEqual(["a", "b"]);
    expect(collectPairs("url=http://x/?a=b", collectPairs("k=v"))).toEqual({
      k: "v",
      url: "http://x/?a=b",
    });
  });

  it("takes a variable's own value when only its name is given", () => {
    expect(collectEnvironment("PATH", collectEnvironment("A=b"))).toEqual({
      A: "b",
      PATH: process.env["PATH"],
    });
    expect(() => collectEnvironment("WAYBILL_SURELY_UNSET")).toThrow("not set");
  });

  it("takes ports and addresses that can be such", () => {
    expect([port("0"), port("65535"), address("https://h.example/")]).toEqual([
      0,
      65_535,
      "https://h.example",
    ]);
    expect(() => port("99999")).toThrow("65535");
    for (const wrong of ["notaurl", "ftp://x", ""])
      expect(() => address(wrong)).toThrow("http://host:port");
    expect(() => address("http://me:secret@h.example")).toThrow("no user or password");
  });

  it("takes the ways a trainer tells its progress", () => {
    expect(["sleap", "csv", "csv:logs/a:b.csv"].map(progressFormat)).toEqual([
      { format: "sleap" },
      { format: "csv", path: "training_log.csv" },
      { format: "csv", path: "logs/a:b.csv" },
    ]);
    for (const wrong of ["xml", "sleap:x", "csv:"])
      expect(() => progressFormat(wrong)).toThrow("csv:PATH");
    for (const outside of ["csv:/tmp/x.csv", "csv:../x.csv", "csv:a/../../x.csv", "csv:C:\\x.csv"])
      expect(() => progressFormat(outside)).toThrow("give a path relative to them");
  });
});
