import { describe, expect, it } from "vitest";
import { type Level, type Levels, chooseLevel, frameMade, startLevels } from "./levels.ts";

const MB = 1_000_000;

/** Levels as measured on two processors: 200, 150 and 40 MB/s each, at 3.3, 3.4 and 3.6. */
function measured(level: Level, mayStore = true): Levels {
  let levels = startLevels(2, mayStore);
  const speeds = [
    { level: 1, plain: MB, stored: MB / 3.3, ms: 5 },
    { level: 3, plain: MB, stored: MB / 3.4, ms: 6.7 },
    { level: 9, plain: MB, stored: MB / 3.6, ms: 25 },
  ] as const;
  for (const frame of speeds) levels = frameMade(levels, frame);
  return { ...levels, level };
}

describe("the level of compression", () => {
  it("is 1 until the link was measured", () => {
    expect(chooseLevel(startLevels(4, true), undefined).level).toBe(1);
  });

  it.each([
    { link: 1 * MB, level: 9 },
    { link: 6.25 * MB, level: 9 },
    { link: 20 * MB, level: 3 },
    { link: 40 * MB, level: 3 },
    { link: 60 * MB, level: 1 },
    { link: 125 * MB, level: 1 },
    { link: 200 * MB, level: 0 },
  ])("on a link of $link bytes a second is $level", ({ link, level }) => {
    expect(chooseLevel(measured(1), link).level).toBe(level);
  });

  it("does not follow every change of the link", () => {
    const rising = chooseLevel(measured(1), 15 * MB).level;
    expect(chooseLevel({ ...measured(9) }, 15 * MB).level).toBe(9);
    expect(rising).toBe(3);
    expect(chooseLevel(measured(0), 280 * MB).level).toBe(0);
  });

  it("is none where the processors are slower than the link", () => {
    let slow = startLevels(1, true);
    slow = frameMade(slow, { level: 1, plain: MB, stored: MB / 3, ms: 20 });
    expect(chooseLevel(slow, 60 * MB).level).toBe(0);
    expect(chooseLevel(slow, 40 * MB).level).toBe(1);
    // Back only when it would be worth much more.
    expect(chooseLevel({ ...slow, level: 0 }, 40 * MB).level).toBe(0);
    expect(chooseLevel({ ...slow, level: 0 }, 30 * MB).level).toBe(1);
  });

  it("is never none where everything is to be compressed", () => {
    expect(chooseLevel(measured(1, false), 900 * MB).level).toBe(1);
  });
});
