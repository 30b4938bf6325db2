/**
 * Subject names: which ones the product uses, and what a valid one looks like. Every subject but one carries the
 * deployment id, so that two deployments on one broker never hear each other. Called by whoever publishes or
 * subscribes; the checks run in every bus, because a subject with a space or a line break in it would be read by the
 * broker as another command.
 */
import { OpError } from "../errors.js";
import { isSafeUint } from "../types/ids.js";

const TOKEN = /^[A-Za-z0-9_-]{1,128}$/;
const SUBJECT_TOKEN = /^[\x21-\x29\x2b-\x2d\x2f-\x3d\x3f-\x7e]+$/;
const SUBJECT_CHARS_MAX = 512;

/** The only subject without a deployment id: a host that knows none asks here. */
export const DISCOVER_SUBJECT = "drumline.discover";

/** Host → masters: reports. */
export function reportSubject(deploymentId: number): string {
  return `${prefix(deploymentId)}.report`;
}

/** Host → masters: what became of a request that was pushed. */
export function resultSubject(deploymentId: number): string {
  return `${prefix(deploymentId)}.result`;
}

/** Master → one host: requests pushed to it. */
export function hostSubject(deploymentId: number, hostId: string): string {
  return `${prefix(deploymentId)}.host.${token("host id", hostId)}`;
}

/** Where the answers of one discovery arrive. */
export function discoverReplySubject(nonce: string): string {
  return `${DISCOVER_SUBJECT}.${token("nonce", nonce)}`;
}

/** Master → everybody: registry snapshots and deltas. */
export function registrySubject(deploymentId: number): string {
  return `${prefix(deploymentId)}.registry`;
}

/** Anybody → masters: asks for a registry snapshot. */
export function registryGetSubject(deploymentId: number): string {
  return `${prefix(deploymentId)}.registry.get`;
}

/** Master → everybody: events for people and tools. */
export function eventsSubject(deploymentId: number): string {
  return `${prefix(deploymentId)}.events`;
}

/** A master → itself: proof that its own link to the broker works both ways. */
export function probeSubject(deploymentId: number, masterId: string | number): string {
  return `${prefix(deploymentId)}.probe.${token("master id", String(masterId))}`;
}

function prefix(deploymentId: number): string {
  if (!isSafeUint(deploymentId) || deploymentId < 1) {
    throw new OpError("DL_ERR_INVALID_ARGUMENT", `deployment id ${deploymentId}, expected an integer from 1`);
  }
  return `drumline.${deploymentId}`;
}

function token(what: string, value: string): string {
  if (!TOKEN.test(value)) {
    throw new OpError(
      "DL_ERR_INVALID_ARGUMENT",
      `${what} ${JSON.stringify(value)}, expected 1 to 128 letters, digits, - or _`,
    );
  }
  return value;
}

/** Can be published to: printable ASCII tokens between dots, no wildcard characters. */
export function isSubject(text: string): boolean {
  return text.length <= SUBJECT_CHARS_MAX && text.split(".").every((part) => SUBJECT_TOKEN.test(part));
}

/** Can be subscribed to: a subject whose tokens may be `*`, and whose last token may be `>`. */
export function isPattern(text: string): boolean {
  if (text.length > SUBJECT_CHARS_MAX) return false;
  const parts = text.split(".");
  return parts.every(
    (part, at) => SUBJECT_TOKEN.test(part) || part === "*" || (part === ">" && at === parts.length - 1),
  );
}

export function checkSubject(subject: string): void {
  if (isSubject(subject)) return;
  throw new OpError("DL_ERR_INVALID_ARGUMENT", `subject ${JSON.stringify(subject)}, expected tokens between dots`);
}

export function checkPattern(pattern: string): void {
  if (isPattern(pattern)) return;
  throw new OpError(
    "DL_ERR_INVALID_ARGUMENT",
    `subscription ${JSON.stringify(pattern)}, expected tokens, * or a final > between dots`,
  );
}

/** `*` stands for one token, a final `>` for one or more. */
export function subjectMatches(pattern: string, subject: string): boolean {
  const want = pattern.split(".");
  const have = subject.split(".");
  for (let at = 0; at < want.length; at++) {
    if (want[at] === ">" && at === want.length - 1) return have.length > at;
    if (at >= have.length) return false;
    if (want[at] !== "*" && want[at] !== have[at]) return false;
  }
  return want.length === have.length;
}
