// Debian's Chromium, and pages for it: the SDK as a browser gets it.
import { existsSync } from "node:fs";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { build } from "vite";

export const CHROMIUM = "/usr/bin/chromium";
export const hasChromium = existsSync(CHROMIUM);
export const CHROMIUM_FLAGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** Serves one page that runs a module, bundled with the `browser` condition. */
export async function servePage(
  entry: string,
): Promise<AsyncDisposable & { readonly url: string }> {
  const script = await bundle(entry);
  const server = createServer((request, response) => {
    const isScript = request.url === "/page.js";
    response.setHeader("content-type", isScript ? "text/javascript" : "text/html");
    const page = '<!doctype html><title>page</title><script type="module" src="/page.js"></script>';
    response.end(isScript ? script : page);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    [Symbol.asyncDispose]: async () => {
      server.close();
      server.closeAllConnections();
    },
  };
}

async function bundle(entry: string): Promise<string> {
  const result = await build({
    configFile: false,
    logLevel: "error",
    resolve: { conditions: ["@waybill/source", "browser", "import", "default"] },
    build: {
      write: false,
      target: "es2024",
      lib: { entry, formats: ["es"], fileName: "page" },
    },
  });
  const [output] = Array.isArray(result) ? result : [result];
  if (output === undefined || !("output" in output)) throw new Error("the bundler gave nothing");
  return output.output.map((chunk) => (chunk.type === "chunk" ? chunk.code : "")).join("\n");
}
