/** Waits for a condition, with a limit that only ends a broken run: no test passes or fails by the time it took. */
export async function eventually<T>(
  what: string,
  probe: () => Promise<T | undefined> | T | undefined,
  limitMs = 30_000,
): Promise<T> {
  const end = performance.now() + limitMs;
  let last: unknown;
  for (;;) {
    try {
      const value = await probe();
      if (value !== undefined && value !== false) return value;
    } catch (error) {
      last = error;
    }
    if (performance.now() > end) {
      throw new Error(
        `did not happen within ${limitMs} ms: ${what}${last === undefined ? "" : ` (last: ${String(last)})`}`,
      );
    }
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
