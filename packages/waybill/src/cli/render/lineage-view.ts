// A model's lineage as a tree of text, or in the languages of tools that draw graphs.
//
//   3fa94c01 centroid · prod-v1 · 2026-01-02
//   ├─ made from
//   │  ├─ dataset digits ab12cd34ef56
//   │  └─ parent 99e1d0aa centroid · removed
//   └─ led to
//      └─ part of 7788aabb topdown
import {
  type Lineage,
  type LineageEdge,
  type LineageNode,
  assertNever,
} from "@waybill/sdk/protocol";
import { clipText } from "./columns.ts";

type Branch = { readonly text: string; readonly below: readonly Branch[] };

/** Lines of at most `width` characters. What is in several places is drawn out in the first. */
export function lineageTree(lineage: Lineage, width: number): string[] {
  const root = lineage.nodes.find(({ key }) => key === lineage.root);
  if (root === undefined) return [];
  // Each side on its own: in a circle, a model is on both.
  const sides = [
    { text: "made from", below: new Tree(lineage).before(root.key) },
    { text: "led to", below: new Tree(lineage).after(root.key) },
  ].filter(({ below }) => below.length > 0);
  const lines = [nodeText(root), ...drawn(sides, "")];
  if (sides.length === 0) lines.push("└─ nothing is known of where it comes from or led to");
  return lines.map((line) => clipText(line, width));
}

class Tree {
  readonly #nodes: ReadonlyMap<string, LineageNode>;
  readonly #to: ReadonlyMap<string, LineageEdge[]>;
  readonly #from: ReadonlyMap<string, LineageEdge[]>;
  readonly #shown = new Set<string>();

  constructor({ nodes, edges, root }: Lineage) {
    this.#nodes = new Map(nodes.map((node) => [node.key, node]));
    const sorted = edges.toSorted(byKind);
    this.#to = Map.groupBy(sorted, ({ to }) => to);
    this.#from = Map.groupBy(sorted, ({ from }) => from);
    this.#shown.add(root);
  }

  before(key: string): Branch[] {
    const steps = this.#to.get(key) ?? [];
    return steps.flatMap(({ from, kind }) =>
      this.#branch(from, kind === "part" ? "part" : kind === "parent" ? "parent" : undefined, () =>
        this.before(from),
      ),
    );
  }

  after(key: string): Branch[] {
    const steps = this.#from.get(key) ?? [];
    return steps.flatMap(({ to, kind }) =>
      this.#branch(to, kind === "part" ? "part of" : "fine-tuned to", () => [
        ...this.#sources(to),
        ...this.after(to),
      ]),
    );
  }

  /** What a descendant was made from besides models. */
  #sources(key: string): Branch[] {
    const steps = (this.#to.get(key) ?? []).filter(
      ({ kind }) => kind !== "parent" && kind !== "part",
    );
    return steps.flatMap(({ from }) => this.#branch(from, undefined, () => []));
  }

  #branch(key: string, how: string | undefined, below: () => Branch[]): Branch[] {
    const node = this.#nodes.get(key);
    if (node === undefined) return [];
    const text = how === undefined ? nodeText(node) : `${how} ${nodeText(node)}`;
    if (node.kind !== "model") return [{ text, below: [] }];
    if (this.#shown.has(key)) {
      const short = how === undefined ? node.id : `${how} ${node.id}`;
      return [{ text: `${short} (above)`, below: [] }];
    }
    this.#shown.add(key);
    return [{ text, below: below() }];
  }
}

const ORDER: readonly LineageEdge["kind"][] = ["dataset", "code", "job", "part", "parent"];

function byKind(a: LineageEdge, b: LineageEdge): number {
  return ORDER.indexOf(a.kind) - ORDER.indexOf(b.kind);
}

function drawn(branches: readonly Branch[], before: string): string[] {
  return branches.flatMap(({ text, below }, i) => {
    const isLast = i === branches.length - 1;
    return [
      `${before}${isLast ? "└─" : "├─"} ${text}`,
      ...drawn(below, `${before}${isLast ? "   " : "│  "}`),
    ];
  });
}

/** One node in words. */
function nodeText(node: LineageNode): string {
  switch (node.kind) {
    case "model": {
      const parts = [
        node.model_type === undefined ? `${node.id} unknown here` : `${node.id} ${node.model_type}`,
        node.aliases.join(", "),
        node.removed === undefined ? "" : "removed",
        node.imported === undefined ? "" : `imported from ${node.imported.from}`,
        node.trained_at?.slice(0, 10) ?? "",
        node.more === true ? "…" : "",
      ];
      return parts.filter((part) => part !== "").join(" · ");
    }
    case "dataset":
      return ["dataset", node.name, node.id.slice(0, 12)]
        .filter((part) => part !== undefined)
        .join(" ");
    case "code":
      return `code ${node.id.slice(0, 12)}`;
    case "job":
      return `job ${node.id}`;
    default:
      return assertNever(node);
  }
}

/** Graphviz: `waybill model lineage M --format dot | dot -Tsvg`. */
export function lineageDot({ root, nodes, edges }: Lineage): string[] {
  const quoted = (text: string) => `"${text.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;
  return [
    "digraph lineage {",
    "  rankdir=LR;",
    ...nodes.map((node) => {
      const shape = node.kind === "model" ? "box" : "ellipse";
      const bold = node.key === root ? ", penwidth=2" : "";
      const dashed = node.kind === "model" && node.removed !== undefined ? ", style=dashed" : "";
      return `  ${quoted(node.key)} [shape=${shape}${bold}${dashed}, label=${quoted(nodeText(node))}];`;
    }),
    ...edges.map(({ from, to, kind }) => `  ${quoted(from)} -> ${quoted(to)} [label=${kind}];`),
    "}",
  ];
}

/** Mermaid, as Markdown pages draw it. */
export function lineageMermaid({ nodes, edges }: Lineage): string[] {
  const names = new Map(nodes.map(({ key }, i) => [key, `n${i}`]));
  const quoted = (text: string) => `"${text.replaceAll('"', "#quot;")}"`;
  return [
    "graph LR",
    ...nodes.map((node) => {
      const [open, close] = node.kind === "model" ? ["[", "]"] : ["([", "])"];
      return `  ${names.get(node.key)}${open}${quoted(nodeText(node))}${close}`;
    }),
    ...edges.map(({ from, to, kind }) => `  ${names.get(from)} -->|${kind}| ${names.get(to)}`),
  ];
}
