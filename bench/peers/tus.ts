// The peer "tus": server and client of the tus project, loaded from the tools' cache.
//   node tus.ts serve CACHE ADDRESS FOLDER     prints {"url"} and serves
//   node tus.ts put CACHE URL FILE STATE       uploads, going on where an earlier run stopped; prints {"url"}
import { createReadStream } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";

const [, , verb, cache = "", place = "", target = "", state = ""] = process.argv;
const require = createRequire(path.join(cache, "package.json"));
const load = async (name: string): Promise<unknown> =>
  import(pathToFileURL(require.resolve(name)).href);

type TusServer = {
  new (options: { path: string; datastore: object; relativeLocation: boolean }): {
    listen(
      options: { host: string; port: number },
      ready: () => void,
    ): {
      address(): { port: number };
    };
  };
};
type Previous = { readonly uploadUrl: string | null };
type TusUpload = {
  url: string | null;
  findPreviousUploads(): Promise<Previous[]>;
  resumeFromPreviousUpload(previous: Previous): void;
  start(): void;
};
type TusClient = {
  Upload: new (file: NodeJS.ReadableStream, options: Record<string, unknown>) => TusUpload;
};
type UrlStorage = { FileUrlStorage: new (file: string) => object };

if (verb === "serve") {
  const { Server } = (await load("@tus/server")) as { Server: TusServer };
  const { FileStore } = (await load("@tus/file-store")) as {
    FileStore: new (options: { directory: string }) => object;
  };
  const server = new Server({
    path: "/files",
    datastore: new FileStore({ directory: target }),
    // So that a proxy in front stays in front.
    relativeLocation: true,
  });
  const listening = server.listen({ host: place, port: 0 }, () => {
    console.log(JSON.stringify({ url: `http://${place}:${listening.address().port}/files` }));
  });
} else {
  const { Upload } = (await load("tus-js-client")) as TusClient;
  const { FileUrlStorage } = (await load("tus-js-client")) as UrlStorage;
  await new Promise<void>((resolve, reject) => {
    const upload = new Upload(createReadStream(target, { highWaterMark: 1024 * 1024 }), {
      endpoint: place,
      retryDelays: [0, 500, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000],
      metadata: { filename: path.basename(target) },
      // In Node, files are read as streams in pieces of this size; one PATCH each.
      chunkSize: 64 * 1024 * 1024,
      ...(state === ""
        ? {}
        : { urlStorage: new FileUrlStorage(state), storeFingerprintForResuming: true }),
      onError: reject,
      onSuccess: () => {
        console.log(JSON.stringify({ url: upload.url }));
        resolve();
      },
    });
    void (async () => {
      const [previous] = state === "" ? [] : await upload.findPreviousUploads();
      if (previous !== undefined) upload.resumeFromPreviousUpload(previous);
      upload.start();
    })();
  });
}
