import { Command } from "commander";
import { describe, expect, it } from "vitest";
import { type SourcePolicy, preference, pullPolicy, withSourcePolicy } from "./source-policy.ts";

function parse(...args: string[]): SourcePolicy {
  const command = withSourcePolicy(new Command("pull")).exitOverride();
  command.configureOutput({ writeErr: () => undefined });
  return command.parse(args, { from: "user" }).opts();
}

describe("where a download takes its bytes from", () => {
  it("is cheap, fast, or in time", () => {
    expect(preference("cheap")).toBe("cheap");
    expect(preference("fast")).toBe("fast");
    expect(preference("deadline=10m")).toEqual({ deadlineMs: 600_000 });
    expect(() => preference("deadline=soon")).toThrow(/looks like 90s/);
    expect(() => preference("best")).toThrow("it is cheap, fast or deadline=10m");
  });

  it("may be several mirrors, with a limit by the time of day", () => {
    const policy = parse(
      "--mirror",
      "http://a.example/x/",
      "--mirror",
      "https://b.example",
      "--limit-down",
      "08:00,512K 19:00,off",
      "--explain",
    );
    expect(policy.mirror).toEqual(["http://a.example/x", "https://b.example"]);
    expect(policy.explain).toBe(true);
    const { mirrors, transport } = pullPolicy(policy);
    expect(mirrors).toHaveLength(2);
    transport.close();
  });

  it("says what is wrong with a limit or a mirror", () => {
    expect(() => parse("--limit-down", "fast")).toThrow(/limit-down/);
    expect(() => parse("--mirror", "mirror.example")).toThrow(/http:\/\/host/);
  });
});
