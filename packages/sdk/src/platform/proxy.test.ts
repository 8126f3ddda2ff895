import { describe, expect, it } from "vitest";
import { type ProxyEnvironment, proxyFor } from "./proxy.node.ts";

const name = (url: string, env: ProxyEnvironment) => proxyFor(new URL(url), env)?.name;

describe("the proxy of a URL", () => {
  it("is the one of its scheme, lower case first, or the one for all", () => {
    const env = {
      https_proxy: "http://lower:1",
      HTTPS_PROXY: "http://upper:1",
      HTTP_PROXY: "plain:2",
      ALL_PROXY: "http://all:3",
    };
    expect(name("https://store.example/x", env)).toBe("lower:1");
    expect(name("http://store.example/x", env)).toBe("plain:2");
    expect(name("https://store.example/x", { ALL_PROXY: "http://all:3", https_proxy: "" })).toBe(
      "all:3",
    );
    expect(name("https://store.example/x", {})).toBe(undefined);
  });

  it("is not taken from a CGI program's request header", () => {
    const env = { HTTP_PROXY: "http://evil:1", REQUEST_METHOD: "GET" };
    expect(name("http://store.example/x", env)).toBe(undefined);
    expect(name("http://store.example/x", { ...env, http_proxy: "http://mine:1" })).toBe("mine:1");
  });

  it("carries its credentials apart from its name", () => {
    const proxy = proxyFor(new URL("https://store.example/"), {
      HTTPS_PROXY: "https://user:p%40ss@proxy.example:8443",
    });
    expect(proxy).toEqual({
      secure: true,
      host: "proxy.example",
      port: 8443,
      authorization: `Basic ${Buffer.from("user:p@ss").toString("base64")}`,
      name: "proxy.example:8443",
    });
  });

  it("is refused without showing it when it is no HTTP proxy", () => {
    const env = { HTTPS_PROXY: "socks5://user:secret@proxy:1080" };
    expect(() => name("https://store.example/", env)).toThrow("is not an HTTP proxy");
    expect(() => name("https://store.example/", env)).not.toThrow("secret");
  });

  it.each([
    ["store.example", "https://store.example/", true],
    ["example", "https://store.example/", true],
    [".example", "https://store.example/", true],
    ["*.example", "https://store.example/", true],
    ["ample", "https://store.example/", false],
    ["a, store.example b", "https://store.example/", true],
    ["store.example:443", "https://store.example/", true],
    ["store.example:8443", "https://store.example/", false],
    ["STORE.example", "https://store.EXAMPLE/", true],
    ["*", "https://store.example/", true],
    ["10.0.0.0/8", "http://10.2.3.4:9000/", true],
    ["10.0.0.0/8", "http://11.2.3.4:9000/", false],
    ["10.2.3.4", "http://10.2.3.4:9000/", true],
    ["3.4", "http://10.2.3.4:9000/", false],
    ["fd00::/8", "http://[fd12::1]:9000/", true],
    ["[fd12::1]:9000", "http://[fd12::1]:9000/", true],
    ["fd12::1", "http://[fd12::1]:9000/", true],
    ["10.0.0.0/99", "http://10.2.3.4/", false],
    ["", "https://store.example/", false],
  ])("NO_PROXY %j exempts %s: %s", (list, url, exempt) => {
    const env = { ALL_PROXY: "http://proxy:1", NO_PROXY: list };
    expect(name(url, env) === undefined).toBe(exempt);
  });

  it("is never used for this machine itself", () => {
    const env = { ALL_PROXY: "http://proxy:1" };
    const own = [
      "http://localhost:1/",
      "http://127.0.0.2:1/",
      "http://[::1]:1/",
      "http://hub.localhost/",
    ];
    expect(own.map((url) => name(url, env))).toEqual([undefined, undefined, undefined, undefined]);
  });
});
