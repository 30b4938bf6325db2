/** What the tests of this folder need of the machine. A missing thing skips a test with its name as the reason. */
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";

/** For the `skip` option of a test: false, or why not. */
export function missing(...commands: readonly string[]): string | false {
  if (process.platform !== "linux") return "needs Linux";
  if (process.getuid?.() !== 0) return "needs root";
  const absent = commands.filter((command) => !isInstalled(command));
  return absent.length === 0 ? false : `needs ${absent.join(", ")}`;
}

function isInstalled(command: string): boolean {
  return (process.env.PATH ?? "").split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, command), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}
