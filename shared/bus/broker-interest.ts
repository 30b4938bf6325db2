/**
 * Who wants which subject: a trie of subject tokens with `*` and `>`, queue groups included. Used by the embedded
 * broker for every message.
 *
 * Invariants: a subject's answer is the same whether it comes from the trie or from the cache (any change empties the
 * cache, which is bounded); empty branches are removed, so that memory follows the subscriptions there are.
 */

/** What the trie keeps; `queue` members of one name share a message. */
export interface Interest {
  readonly subject: string;
  readonly queue: string | undefined;
}

export interface Matched<T> {
  readonly plain: readonly T[];
  /** One list per queue name; exactly one member of each gets the message. */
  readonly queues: readonly (readonly T[])[];
}

interface Node<T> {
  readonly here: Set<T>;
  readonly below: Map<string, Node<T>>;
}

const CACHED_SUBJECTS_MAX = 4096;

export class InterestTrie<T extends Interest> {
  readonly #root: Node<T> = emptyNode();
  readonly #cache = new Map<string, Matched<T>>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  add(interest: T): void {
    let node = this.#root;
    for (const token of interest.subject.split(".")) {
      const next = node.below.get(token) ?? emptyNode<T>();
      node.below.set(token, next);
      node = next;
    }
    if (node.here.has(interest)) return;
    node.here.add(interest);
    this.#size += 1;
    this.#cache.clear();
  }

  remove(interest: T): void {
    const tokens = interest.subject.split(".");
    const path: Node<T>[] = [this.#root];
    let node = this.#root;
    for (const token of tokens) {
      const next = node.below.get(token);
      if (next === undefined) return;
      path.push(next);
      node = next;
    }
    if (!node.here.delete(interest)) return;
    this.#size -= 1;
    this.#cache.clear();
    for (let at = tokens.length; at > 0; at--) {
      const child = path[at];
      const token = tokens[at - 1];
      if (child === undefined || token === undefined || child.here.size > 0 || child.below.size > 0) return;
      path[at - 1]?.below.delete(token);
    }
  }

  match(subject: string): Matched<T> {
    const known = this.#cache.get(subject);
    if (known !== undefined) return known;
    const found: T[] = [];
    collect(this.#root, subject.split("."), 0, found);
    const matched = group(found);
    if (this.#cache.size >= CACHED_SUBJECTS_MAX) this.#cache.clear();
    this.#cache.set(subject, matched);
    return matched;
  }
}

function emptyNode<T>(): Node<T> {
  return { here: new Set(), below: new Map() };
}

function collect<T>(node: Node<T>, tokens: readonly string[], at: number, found: T[]): void {
  const token = tokens[at];
  if (token === undefined) {
    for (const interest of node.here) found.push(interest);
    return;
  }
  const rest = node.below.get(">");
  if (rest !== undefined) for (const interest of rest.here) found.push(interest);
  const any = node.below.get("*");
  if (any !== undefined) collect(any, tokens, at + 1, found);
  // A published subject may hold the characters themselves; they are no wildcards there.
  const same = token === ">" || token === "*" ? undefined : node.below.get(token);
  if (same !== undefined) collect(same, tokens, at + 1, found);
}

function group<T extends Interest>(found: readonly T[]): Matched<T> {
  const plain: T[] = [];
  const queues = new Map<string, T[]>();
  for (const interest of found) {
    if (interest.queue === undefined) {
      plain.push(interest);
      continue;
    }
    const members = queues.get(interest.queue) ?? [];
    members.push(interest);
    queues.set(interest.queue, members);
  }
  return { plain, queues: [...queues.values()] };
}

/** Tokens between dots, none empty; `>` only as the last. */
export function isBrokerSubject(subject: string): boolean {
  const tokens = subject.split(".");
  return tokens.every((token, at) => token !== "" && (token !== ">" || at === tokens.length - 1));
}

/** Can be published to under `pedantic`: a valid subject without wildcards. */
export function isLiteral(subject: string): boolean {
  return isBrokerSubject(subject) && !subject.split(".").some((token) => token === "*" || token === ">");
}
