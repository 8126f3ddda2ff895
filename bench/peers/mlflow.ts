// MLflow's tracking server as a model registry (SQLite beside it, as it starts by default), filled through its database:
// 10,000 model versions of one registered model, each with an alias.
import { execFile } from "node:child_process";
import { access, readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { cleanEnvironment } from "../../test/support/waybill-process.ts";
import type { RegistryClient } from "../load/registry-room.ts";
import { note } from "../setup/measure.ts";
import { type Scope, start } from "../setup/scope.ts";
import { freePort } from "../setup/store.ts";

const NAME = "centroid";
const FILL = `
import sqlite3, sys
path, count = sys.argv[1], int(sys.argv[2])
db = sqlite3.connect(path)
now = 1767225600000
db.execute("insert into registered_models (name, creation_time, last_updated_time) values (?, ?, ?)", ("${NAME}", now, now))
rows = [("${NAME}", i + 1, now + i, now + i, "None", "file:///m", "READY", "file:///m") for i in range(count)]
db.executemany("insert into model_versions (name, version, creation_time, last_updated_time, current_stage, source, status, storage_location) values (?, ?, ?, ?, ?, ?, ?, ?)", rows)
db.executemany("insert into registered_model_aliases (name, alias, version) values (?, ?, ?)", [("${NAME}", f"alias-{i}", i + 1) for i in range(count)])
db.commit()
`;

/** Starts and fills a server; `undefined`, with a line that says so, where MLflow is not installed. */
export async function startMlflow(
  scope: Scope,
  models: number,
): Promise<{ readonly name: string; readonly client: RegistryClient } | undefined> {
  const bin = `${homedir()}/.cache/waybill-bench/mlflow/bin`;
  try {
    await access(`${bin}/mlflow`);
  } catch {
    note(
      "mlflow is not installed: python3 -m venv ~/.cache/waybill-bench/mlflow && ~/.cache/waybill-bench/mlflow/bin/pip install mlflow",
    );
    return undefined;
  }
  const port = await freePort();
  const file = scope.path("mlflow.db");
  const argv = [`${bin}/mlflow`, "server", "--backend-store-uri", `sqlite:///${file}`];
  argv.push(
    "--workers",
    "1",
    "--port",
    String(port),
    "--default-artifact-root",
    scope.path("mlflow"),
  );
  const env = cleanEnvironment({
    PATH: `${bin}:${process.env["PATH"]}`,
    MLFLOW_DISABLE_TELEMETRY: "true",
  });
  const child = start(argv, { env, stdio: "ignore" });
  const url = `http://127.0.0.1:${port}/api/2.0/mlflow/`;
  for (let tries = 0; ; tries++) {
    const up = await fetch(`http://127.0.0.1:${port}/health`).then(
      (answer) => answer.ok,
      () => false,
    );
    if (up) break;
    if (tries > 240 || child.exitCode !== null) throw new Error("mlflow does not start");
    await sleep(500);
  }
  await promisify(execFile)(`${bin}/python`, ["-c", FILL, file, String(models)]);
  const { stdout } = await promisify(execFile)(`${bin}/mlflow`, ["--version"], { env });

  async function call(method: string, path: string, body?: unknown): Promise<unknown> {
    const init = body === undefined ? {} : { body: JSON.stringify(body) };
    const headers = { "content-type": "application/json" };
    const answer = await fetch(url + path, { method, headers, ...init });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`mlflow: ${path}: ${answer.status} ${text.slice(0, 200)}`);
    return JSON.parse(text);
  }
  const client: RegistryClient = {
    resolve: (index) => call("GET", `registered-models/alias?name=${NAME}&alias=alias-${index}`),
    list: () =>
      call(
        "GET",
        `model-versions/search?max_results=50&filter=${encodeURIComponent(`name='${NAME}'`)}`,
      ),
    async publish({ publication: { alias } }) {
      const made = (await call("POST", "model-versions/create", {
        name: NAME,
        source: "s3://m/1",
      })) as {
        model_version: { version: string };
      };
      const { version } = made.model_version;
      await call("POST", "registered-models/alias", { name: NAME, alias, version });
    },
    figures: () => figuresOfTree(child.pid ?? 0),
  };
  return { name: `MLflow ${/[\d.]+/.exec(stdout)?.[0] ?? ""}`, client };
}

/** CPU time and peak memory of a process and those it started. */
async function figuresOfTree(pid: number) {
  let [cpuSeconds, peakRssBytes] = [0, 0];
  const rest = [pid];
  for (let next = rest.pop(); next !== undefined; next = rest.pop()) {
    const read = (name: string) => readFile(`/proc/${next}/${name}`, "utf8").catch(() => "");
    const [stat, status, children] = [
      await read("stat"),
      await read("status"),
      await read(`task/${next}/children`),
    ];
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    cpuSeconds += (Number(fields[11] ?? 0) + Number(fields[12] ?? 0)) / 100;
    peakRssBytes += Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0) * 1024;
    rest.push(...children.split(" ").filter(Boolean).map(Number));
  }
  return { cpuSeconds, peakRssBytes, loopMaxMs: 0 };
}
