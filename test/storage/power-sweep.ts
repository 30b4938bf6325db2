/**
 * Opens many images of a disk that lost its power in the middle of a run, or whose bits rotted, and checks each:
 *   npm run power-sweep -- [--images 500] [--first-seed 1] [--json]
 * Exit code 1 if one image is not what was promised; its seed shows it again with --images 1 --first-seed N.
 */
import { parseArgs } from "node:util";
import { SingleBar } from "cli-progress";
import { checkImage, type ImageResult } from "./power.js";

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      images: { type: "string", default: "500" },
      "first-seed": { type: "string", default: "1" },
      json: { type: "boolean", default: false },
    },
  });
  const images = Number(values.images);
  const firstSeed = Number(values["first-seed"]);
  if (!Number.isSafeInteger(images) || images < 1 || !Number.isSafeInteger(firstSeed)) {
    process.stderr.write("expected --images N and --first-seed N, both whole numbers\n");
    return 2;
  }
  const bar = process.stderr.isTTY
    ? new SingleBar({ format: "{bar} {value}/{total} images", stream: process.stderr })
    : undefined;
  bar?.start(images, 0);
  const results: ImageResult[] = [];
  for (let i = 0; i < images; i++) {
    results.push(await checkImage(firstSeed + i));
    bar?.update(i + 1);
  }
  bar?.stop();
  return report(results, values.json);
}

function report(results: readonly ImageResult[], json: boolean): number {
  const bad = results.filter((result) => result.problem !== undefined);
  const rot = results.filter((result) => result.kind === "rot");
  const noticed = rot.filter((result) => result.noticed).length;
  const acknowledged = results.reduce((sum, result) => sum + result.acknowledged, 0);
  if (json) {
    const failed = bad.map(({ seed, problem }) => ({ seed, problem }));
    process.stdout.write(
      `${JSON.stringify({ images: results.length, rot: rot.length, noticed, acknowledged, failed })}\n`,
    );
  } else {
    for (const { seed, kind, problem } of bad) process.stdout.write(`image ${seed} (${kind}): ${problem}\n`);
    const lost = results.length - rot.length;
    process.stdout.write(
      `${lost} power losses, ${rot.length} of rot (${noticed} noticed, the others in unused bytes), `,
    );
    process.stdout.write(
      `${acknowledged} acknowledged appends\n${results.length - bad.length} passed, ${bad.length} failed\n`,
    );
  }
  return bad.length === 0 ? 0 : 1;
}

process.exitCode = await main();
