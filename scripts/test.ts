// npm test: everything a change must pass, from a clean clone, on a machine that never saw the project.
// Static checks, a build, then the suites one after another; the last line counts them all.
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";

/** Programs the suites talk to as real peers, and the Debian packages that bring them. */
const TOOLS = [
  { program: "aws", debian: "awscli" },
  { program: "rclone", debian: "rclone" },
  { program: "chromium", debian: "chromium" },
  { program: "turnserver", debian: "coturn" },
  { program: "zstd", debian: "zstd" },
  { program: "curl", debian: "curl" },
  { program: "aria2c", debian: "aria2" },
] as const;

const CHECKS = [
  ["format", "oxfmt", ["--check"]],
  ["lint", "oxlint", ["--type-aware", "--deny-warnings"]],
  ["types", "tsc", ["-p", "."]],
  ["build", "node", ["scripts/build.ts"]],
] as const;

const SUITES = ["unit", "interop", "e2e", "faults"] as const;

type Counts = { passed: number; failed: number; skipped: number };

/** The part of Vitest's JSON report that is read here. */
type Report = Partial<
  Record<"numPassedTests" | "numFailedTests" | "numPendingTests" | "numTodoTests", number>
> & {
  testResults?: readonly {
    name: string;
    message: string;
    assertionResults: readonly {
      status: string;
      fullName: string;
      failureMessages?: readonly string[];
    }[];
  }[];
};

/** What failed and how, told again at the end: a log's middle is easily lost. */
const failures: string[] = [];

function run(
  program: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv = process.env,
): boolean {
  const done = spawnSync(program, args, { stdio: ["ignore", "inherit", "inherit"], env });
  if (done.error !== undefined) console.error(`${program}: ${done.error.message}`);
  return done.status === 0;
}

function onPath(program: string): boolean {
  return (process.env["PATH"] ?? "")
    .split(path.delimiter)
    .some((folder) => existsSync(path.join(folder, program)));
}

/** Installs what is missing when that is allowed, and says what the suites will have to skip otherwise. */
function provideTools(): void {
  const missing = () => TOOLS.filter((tool) => !onPath(tool.program));
  if (missing().length === 0) return;
  const allowed =
    process.env["WAYBILL_TEST_INSTALL"] !== "0" &&
    process.getuid?.() === 0 &&
    existsSync("/etc/debian_version");
  if (allowed) {
    const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
    const packages = missing().map((tool) => tool.debian);
    console.log(`installing ${packages.join(", ")}`);
    run("apt-get", ["-qq", "update"], env);
    run(
      "apt-get",
      ["-qq", "-y", "--no-install-recommends", "-o", "Dpkg::Use-Pty=0", "install", ...packages],
      env,
    );
  }
  for (const tool of missing()) {
    console.log(
      `tests against ${tool.program} are skipped: it is not installed (apt-get install ${tool.debian})`,
    );
  }
}

function runSuite(suite: string, folder: string): Counts {
  const report = path.join(folder, `${suite}.json`);
  const ok = run("vitest", [
    "run",
    "--project",
    suite,
    "--passWithNoTests",
    "--reporter=default",
    "--reporter=json",
    `--outputFile.json=${report}`,
  ]);
  if (!existsSync(report)) {
    failures.push(`${suite}: Vitest wrote no report`);
    return { passed: 0, failed: 1, skipped: 0 };
  }
  const result = JSON.parse(readFileSync(report, "utf8")) as Report;
  for (const { name, message, assertionResults } of result.testResults ?? []) {
    if (message !== "") failures.push(`${path.relative(".", name)}: ${message}`);
    for (const { status, fullName, failureMessages } of assertionResults) {
      if (status !== "failed") continue;
      failures.push(`${path.relative(".", name)}: ${fullName}\n${failureMessages?.join("\n")}`);
    }
  }
  const failed = result.numFailedTests ?? 0;
  if (!ok && failed === 0) failures.push(`${suite}: failed outside its tests, see above`);
  return {
    passed: result.numPassedTests ?? 0,
    // A suite that fails outside its tests (a file that does not load, an unhandled rejection) has failed.
    failed: ok ? failed : Math.max(1, failed),
    skipped: (result.numPendingTests ?? 0) + (result.numTodoTests ?? 0),
  };
}

const folder = mkdtempSync(path.join(os.tmpdir(), "waybill-test-"));
const total: Counts = { passed: 0, failed: 0, skipped: 0 };
try {
  for (const [name, program, args] of CHECKS) {
    console.log(`\n== ${name}`);
    if (run(program, args)) continue;
    total.failed += 1;
    failures.push(`${name}: see above`);
  }
  provideTools();
  const wanted = process.argv.slice(2);
  for (const suite of SUITES) {
    if (wanted.length > 0 && !wanted.includes(suite)) continue;
    console.log(`\n== ${suite}`);
    const counts = runSuite(suite, folder);
    total.passed += counts.passed;
    total.failed += counts.failed;
    total.skipped += counts.skipped;
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
for (const failure of failures) console.log(`\nfailed: ${failure}`);
console.log(`\n${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
process.exitCode = total.failed === 0 ? 0 : 1;
