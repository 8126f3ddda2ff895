import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { ArtifactId, ArtifactName, JobId, Lineage, ModelId } from "@waybill/sdk/protocol";
import { lineageDot, lineageMermaid, lineageTree } from "./lineage-view.ts";

const modelNode = (id: string, over: object = {}) => ({
  key: `model:${id}`,
  kind: "model" as const,
  id: id as ModelId,
  model_type: "unet" as never,
  aliases: [],
  trained_at: "2026-01-02T03:04:05.678Z",
  ...over,
});
const DATASET = "ab12cd34ef56".padEnd(64, "0") as ArtifactId;

const LINEAGE: Lineage = {
  root: "model:3fa94c01",
  nodes: [
    modelNode("3fa94c01", { aliases: ["latest-unet", "prod"] }),
    modelNode("99e1d0aa", { removed: "purged" }),
    { key: "model:11111111", kind: "model", id: "11111111" as ModelId, aliases: [] },
    modelNode("77777777", { more: true }),
    modelNode("88888888", { imported: { format: "sleap", from: "run-7" } }),
    {
      key: `dataset:${DATASET}`,
      kind: "dataset",
      id: DATASET,
      name: 'my "digits"' as ArtifactName,
    },
    {
      key: "job:j_01h2xcejqtf2nbrx",
      kind: "job",
      id: "j_01h2xcejqtf2nbrx" as JobId,
    },
  ],
  edges: [
    { from: "model:99e1d0aa", to: "model:3fa94c01", kind: "parent" },
    { from: "model:11111111", to: "model:99e1d0aa", kind: "parent" },
    { from: `dataset:${DATASET}`, to: "model:99e1d0aa", kind: "dataset" },
    { from: `dataset:${DATASET}`, to: "model:3fa94c01", kind: "dataset" },
    { from: "job:j_01h2xcejqtf2nbrx", to: "model:3fa94c01", kind: "job" },
    { from: "model:3fa94c01", to: "model:77777777", kind: "part" },
    { from: "model:3fa94c01", to: "model:88888888", kind: "parent" },
    { from: "model:88888888", to: "model:77777777", kind: "part" },
  ],
};

describe("a lineage on the screen", () => {
  it("is a tree in which what is shared is drawn out once", () => {
    expect(lineageTree(LINEAGE, 80)).toEqual([
      "3fa94c01 unet · latest-unet, prod · 2026-01-02",
      "├─ made from",
      '│  ├─ dataset my "digits" ab12cd34ef56',
      "│  ├─ job j_01h2xcejqtf2nbrx",
      "│  └─ parent 99e1d0aa unet · removed · 2026-01-02",
      '│     ├─ dataset my "digits" ab12cd34ef56',
      "│     └─ parent 11111111 unknown here",
      "└─ led to",
      "   ├─ part of 77777777 unet · 2026-01-02 · …",
      "   └─ fine-tuned to 88888888 unet · imported from run-7 · 2026-01-02",
      "      └─ part of 77777777 (above)",
    ]);
  });

  it("says so when nothing is known", () => {
    const alone = { ...LINEAGE, nodes: LINEAGE.nodes.slice(0, 1), edges: [] };
    expect(lineageTree(alone, 80)[1]).toContain("nothing is known");
  });

  it("ends in circles, shows every node, and fits the screen", () => {
    const graph = fc.array(
      fc.tuple(fc.nat(9), fc.nat(9), fc.constantFrom("parent" as const, "part" as const)),
      {
        maxLength: 30,
      },
    );
    fc.assert(
      fc.property(graph, (drawn) => {
        const id = (n: number) => String(n).repeat(8);
        const edges = drawn.map(([from, to, kind]) => ({
          from: `model:${id(from)}`,
          to: `model:${id(to)}`,
          kind,
        }));
        const ends = edges.flatMap(({ from, to }) => [from, to]);
        // As a lineage is: everything lies above or below the root.
        const line = (next: (at: string) => string[]) => {
          const found = new Set([`model:${id(0)}`]);
          for (const at of found) for (const one of next(at)) found.add(one);
          return found;
        };
        const up = line((at) => edges.filter(({ to }) => to === at).map(({ from }) => from));
        const down = line((at) => edges.filter(({ from }) => from === at).map(({ to }) => to));
        const keys = new Set([id(0), ...ends.map((key) => key.slice(6))]);
        const inside = [...keys].filter((n) => up.has(`model:${n}`) || down.has(`model:${n}`));
        const both = edges.filter(
          ({ from, to }) => (up.has(from) && up.has(to)) || (down.has(from) && down.has(to)),
        );
        const nodes = inside.map((n) => modelNode(n));
        const lines = lineageTree({ root: `model:${id(0)}`, nodes, edges: both }, 60);
        for (const n of inside) {
          const drawnOut = lines.filter((text) => text.includes(n) && !text.includes("(above)"));
          expect(drawnOut.length, lines.join("\n")).toBeLessThanOrEqual(
            up.has(`model:${n}`) && down.has(`model:${n}`) ? 2 : 1,
          );
          expect(lines.join("\n")).toContain(n);
        }
        expect(Math.max(...lines.map((text) => text.length))).toBeLessThanOrEqual(60);
      }),
    );
  });

  it("can be given to Graphviz and Mermaid", () => {
    const dot = lineageDot(LINEAGE);
    expect(dot).toContain('  "model:99e1d0aa" -> "model:3fa94c01" [label=parent];');
    expect(dot.join("\n")).toContain(String.raw`label="dataset my \"digits\" ab12cd34ef56"`);
    expect(dot.at(-1)).toBe("}");
    const mermaid = lineageMermaid(LINEAGE);
    expect(mermaid).toContain("  n1 -->|parent| n0");
    expect(mermaid.join("\n")).toContain('"dataset my #quot;digits#quot; ab12cd34ef56"');
  });
});
