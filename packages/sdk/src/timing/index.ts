// Waiting and trying again.
export {
  backoffMs,
  delay,
  retry,
  abortReason,
  type BackoffOptions,
  type RetryOptions,
} from "./backoff.ts";
export { RateGate, type RateLimit, parseRateLimit, rateAt } from "./rate-limit.ts";
