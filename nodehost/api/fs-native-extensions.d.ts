/** The package ships no types: only what is used of it. */
declare module "fs-native-extensions" {
  /** Kernel lock on the whole file; false if another descriptor holds it. Released when the descriptor is closed. */
  export function tryLock(fd: number): boolean;
}
