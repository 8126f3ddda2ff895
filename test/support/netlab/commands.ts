// The system's own tools, run to their end: what they print, or an error with what they said.
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import path from "node:path";

/** Runs a program that must succeed; its standard output. */
export function run(program: string, ...args: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(program, [...args], { maxBuffer: 16 * 1024 * 1024 }, (error, stdout, stderr) => {
      if (error === null) resolve(stdout);
      else
        reject(
          new Error(`${program} ${args.join(" ")} failed: ${stderr.trim() || error.message}`, {
            cause: error,
          }),
        );
    });
  });
}

/** Where a program lies in PATH (and where root's programs lie), if anywhere. */
export function programPath(name: string): string | undefined {
  const folders = [...(process.env["PATH"] ?? "").split(path.delimiter), "/usr/sbin", "/sbin"];
  return folders.map((folder) => path.join(folder, name)).find((file) => existsSync(file));
}
