// Whether less or more of a metric is better, as far as its name says so.

export type MetricDirection = "lower" | "higher";

const LOWER = new Set(
  "loss error errors err mse rmse mae mape dist distance perplexity ppl nll wer cer fid kl divergence latency seconds".split(
    " ",
  ),
);
const HIGHER = new Set(
  "acc accuracy auc auroc f1 iou miou map ap ar precision recall psnr ssim score r2 oks pck dice bleu rouge reward sensitivity specificity".split(
    " ",
  ),
);

/** `val_loss` → lower, `oks.mOKS` → higher; undefined when no word of the name, or words of both kinds, say so. */
export function metricDirection(key: string): MetricDirection | undefined {
  const words = key
    .replaceAll(/([a-z0-9])([A-Z])/g, "$1 $2")
    .toLowerCase()
    .split(/[^a-z0-9]+/);
  const [lower, higher] = [LOWER, HIGHER].map((known) => words.some((word) => known.has(word)));
  if (lower === higher) return undefined;
  return lower === true ? "lower" : "higher";
}
