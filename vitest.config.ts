import { defineConfig } from "vitest/config";

// Tests run from the TypeScript sources of every package (condition "@waybill/source"); only
// test/e2e spawns the built bin.
const conditions = ["@waybill/source", "node", "import", "default"];
const project = (name: string, include: string[], extra: Record<string, unknown> = {}) => ({
  resolve: { conditions },
  ssr: { resolve: { conditions, externalConditions: conditions } },
  test: { name, include, environment: "node" as const, ...extra },
});

export default defineConfig({
  test: {
    projects: [
      project("unit", ["packages/*/src/**/*.test.ts"], {
        exclude: ["**/*.browser.test.ts", "**/node_modules/**", "**/dist/**"],
        testTimeout: 20_000,
      }),
      project("interop", ["test/interop/**/*.test.ts"], {
        testTimeout: 120_000,
        hookTimeout: 120_000,
      }),
      project("faults", ["test/faults/**/*.test.ts"], {
        testTimeout: 180_000,
        hookTimeout: 120_000,
        fileParallelism: false,
      }),
      project("e2e", ["test/e2e/**/*.test.ts"], { testTimeout: 180_000, hookTimeout: 120_000 }),
    ],
  },
});
