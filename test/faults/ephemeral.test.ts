// A few jobs on machines that vanish at random moments: each ends completed, with a model that says that every step was done
// once. `npm run bench:ephemeral` is the same with a hundred.
import { expect, it } from "vitest";
import { runOnPods } from "../support/pods.ts";

const STEPS = 40;

it("every job on ephemeral workers that are SIGKILLed or SIGTERMed at random moments is completed", async () => {
  const { jobs, killed, told, seconds } = await runOnPods({
    jobs: 6,
    pods: 3,
    seed: 1,
    steps: STEPS,
    checkpointEvery: 5,
    killEveryMs: 1500,
    limitMs: 150_000,
  });
  const attempts = jobs.map(({ doc }) => doc.attempt);
  console.log(
    `${killed} pods killed, ${told} told to go; attempts ${attempts.join(", ")}; ${Math.round(seconds)} s`,
  );
  for (const { doc, events, model } of jobs) {
    expect(doc, doc.reason).toMatchObject({ state: "completed" });
    expect(model).toEqual({ steps: STEPS, sum: (STEPS * (STEPS + 1)) / 2 });
    const numbers = events.map(({ seq }) => seq);
    expect(numbers).toEqual([...new Set(numbers)].toSorted((a, b) => a - b));
  }
  expect(killed + told).toBeGreaterThan(0);
});
