import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { type Server, createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { scanTree } from "./index.ts";

let root: string;
let server: Server | undefined;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "waybill-scan-"));
});

afterEach(() => {
  server?.close();
  server = undefined;
  rmSync(root, { recursive: true, force: true });
});

function write(path: string, content = path): void {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), content);
}

const paths = async (path = root) => (await scanTree(path)).files.map((file) => file.path);

describe("a scan of a tree", () => {
  it("lists regular files in UTF-8 order with size and executable bit", async () => {
    for (const path of ["b", "a/z", "a-b", "a/é", "😀", "\uffee"]) write(path);
    chmodSync(join(root, "b"), 0o755);
    const scan = await scanTree(root);
    expect(scan.files.map((file) => file.path)).toEqual(["a-b", "a/z", "a/é", "b", "\uffee", "😀"]);
    expect(scan.files.find((file) => file.executable)?.path).toBe("b");
    expect(scan.bytes).toBe(3 + 3 + 4 + 1 + 3 + 4);
  });

  it("records modes where they are unusual", async () => {
    for (const [path, mode] of [
      ["a", 0o644],
      ["b", 0o755],
      ["c", 0o600],
      ["d", 0o750],
    ] as const) {
      write(path);
      chmodSync(join(root, path), mode);
    }
    const { files } = await scanTree(root);
    expect(files.map((file) => file.mode)).toEqual([undefined, undefined, 0o600, 0o750]);
  });

  it("of a single file is that file under its own name", async () => {
    write("dir/model.bin", "abc");
    const scan = await scanTree(join(root, "dir/model.bin"));
    expect(scan).toMatchObject({ root: join(root, "dir"), bytes: 3, warnings: [] });
    expect(scan.files).toMatchObject([{ path: "model.bin", size: 3 }]);
  });

  it("follows links that stay inside the tree", async () => {
    write("data/x");
    symlinkSync("data/x", join(root, "file-link"));
    symlinkSync("data", join(root, "folder-link"));
    expect(await paths()).toEqual(["data/x", "file-link", "folder-link/x"]);
  });

  it("follows a link as the tree itself", async () => {
    write("data/x");
    symlinkSync("data", join(root, "here"));
    expect(await paths(join(root, "here"))).toEqual(["x"]);
  });

  it("refuses links that leave the tree, go in circles, or lead nowhere", async () => {
    write("a/x");
    symlinkSync("/etc/hostname", join(root, "a/out"));
    await expect(paths()).rejects.toThrow(
      /a\/out is a link that leaves the tree \(to \/etc\/hostname\)/,
    );
    rmSync(join(root, "a/out"));
    symlinkSync("self", join(root, "a/self"));
    await expect(paths()).rejects.toThrow("a link that leads to itself");
    rmSync(join(root, "a/self"));
    symlinkSync("..", join(root, "a/up"));
    await expect(paths()).rejects.toThrow("a folder it lies in");
    rmSync(join(root, "a/up"));
    symlinkSync("nothing", join(root, "a/dangling"));
    await expect(paths()).rejects.toMatchObject({ code: "local_io" });
  });

  it("leaves out what cannot be sent, with a warning each, where it is told to", async () => {
    write("weights.bin");
    symlinkSync("/etc/hostname", join(root, "out.png"));
    symlinkSync("nowhere", join(root, "lost"));
    const scan = await scanTree(root, { unsendable: "skip" });
    expect(scan.files.map((file) => file.path)).toEqual(["weights.bin"]);
    expect(scan.warnings).toEqual([
      expect.stringMatching(/^left out: .*lost is a link to something/),
      expect.stringMatching(/^left out: .*out\.png is a link that leaves the tree/),
    ]);
  });

  it("refuses sockets and devices", async () => {
    write("x");
    server = createServer();
    await new Promise<void>((resolve) => server?.listen(join(root, "socket"), resolve));
    await expect(paths()).rejects.toThrow("socket, pipe or device");
    await expect(paths("/dev/null")).rejects.toMatchObject({ code: "invalid_request" });
  });

  it("refuses names that no artifact can hold, and says which", async () => {
    write("back\\slash");
    await expect(paths()).rejects.toThrow(/back.*slash.*holds a backslash/);
  });

  it("refuses a name that is not UTF-8", async () => {
    write("x");
    writeFileSync(Buffer.concat([Buffer.from(`${root}/`), Buffer.from([0xff, 0xfe])]), "");
    await expect(paths()).rejects.toThrow("not valid UTF-8");
  });

  it("says when there is nothing, or nothing there", async () => {
    mkdirSync(join(root, "empty"));
    await expect(paths()).rejects.toThrow("nothing to push");
    await expect(paths(join(root, "nowhere"))).rejects.toMatchObject({ code: "local_io" });
  });

  it("warns of names that collide elsewhere and of empty folders", async () => {
    write("Readme");
    write("README");
    mkdirSync(join(root, "empty"));
    const { warnings } = await scanTree(root);
    expect(warnings).toEqual([
      "README and Readme are one file on systems that ignore case",
      "1 empty folder is not part of the artifact: only files travel",
    ]);
  });

  it("leaves out what an unfinished pull keeps, and nothing else of that name", async () => {
    write("x");
    write(".waybill/settings");
    expect(await paths()).toEqual([".waybill/settings", "x"]);
    write(".waybill/0123456789abcdef/journal");
    expect(await paths()).toEqual(["x"]);
    expect((await scanTree(root)).warnings).toHaveLength(1);
    rmSync(join(root, ".waybill"), { recursive: true });
    write(".waybill/lock");
    expect(await paths()).toEqual(["x"]);
  });

  it("ends where links between folders make paths without end, also when it may leave things out", async () => {
    for (let at = 0; at < 60; at++) {
      write(`d${at}/x`);
      if (at === 0) continue;
      symlinkSync(`../d${at - 1}`, join(root, `d${at}/a`));
      symlinkSync(`../d${at - 1}`, join(root, `d${at}/b`));
    }
    await expect(paths()).rejects.toMatchObject({
      code: "unsafe_path",
      message: expect.stringMatching(/is reached by more than 10000 paths: links in/),
    });
    const skipping = scanTree(root, { unsendable: "skip" });
    await expect(skipping).rejects.toMatchObject({ code: "unsafe_path" });
  }, 60_000);

  it("stops when it is cancelled", async () => {
    write("x");
    const scanning = scanTree(root, { signal: AbortSignal.abort() });
    await expect(scanning).rejects.toMatchObject({ name: "AbortError" });
  });
});
