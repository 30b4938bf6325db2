/**
 * What a command changed, as lines of text: per replica one line with the fields that are new, beneath it what it
 * wrote, sent, applied and answered. Called by world.ts before and after each command.
 */
import { describeMessage, type Inspection } from "../../nodehost/raft/index.js";
import type { TestNode } from "../../nodehost/raft/test-net.js";
import type { RaftUpdate } from "../../nodehost/raft/types.js";
import type { Membership } from "../../shared/types/membership.js";
import type { Message } from "../../shared/types/message.js";

/** A replica before a command. */
export interface Before {
  readonly inspection: Inspection;
  readonly membership: Membership;
  readonly lengths: Lengths;
  readonly removed: TestNode["removed"];
}

interface Lengths {
  readonly state: number;
  readonly readStates: number;
  readonly dropped: number;
  readonly snapshotRequests: number;
  readonly transfers: number;
  readonly restores: number;
}

/** What happened to one replica during a command, besides what its state shows. */
export interface Happened {
  /** Updates handed to the disk, and whether they became durable at once. */
  readonly writes: string[];
  readonly messages: string[];
}

export function before(node: TestNode): Before {
  const { state, readStates, dropped, snapshotRequests, transfers, restores } = node;
  const lengths = {
    state: state.length,
    readStates: readStates.length,
    dropped: dropped.length,
    snapshotRequests: snapshotRequests.length,
    transfers: transfers.length,
    restores: restores.length,
  };
  return { inspection: node.raft.inspect(), membership: node.raft.membership, lengths, removed: node.removed };
}

export function changes(old: Before, node: TestNode, happened: Happened, peers: boolean): string[] {
  const fields = changedFields(old, node, peers);
  const events = [...happened.writes, ...eventsOf(old, node)];
  // Messages name their sender themselves.
  const head = fields.length + events.length === 0 ? [] : [`${node.id}: ${fields.join(" ")}`.trimEnd()];
  return [...head, ...[...events, ...happened.messages].map((line) => `   ${line}`)];
}

function changedFields(old: Before, node: TestNode, peers: boolean): string[] {
  const was = old.inspection;
  const is = node.raft.inspect();
  const fields: string[] = [];
  if (is.role !== was.role) fields.push(is.role);
  if (is.term !== was.term) fields.push(`t${is.term}`);
  if (is.vote !== was.vote) fields.push(is.vote === 0 ? "no vote" : `vote ${is.vote}`);
  if (is.leaderId !== was.leaderId && is.leaderId !== is.replicaId)
    fields.push(is.leaderId === 0 ? "no leader" : `follows ${is.leaderId}`);
  if (is.quiesced !== was.quiesced) fields.push(is.quiesced ? "rests" : "wakes");
  if (is.first !== was.first) fields.push(`first ${is.first}`);
  if (is.last !== was.last || is.lastTerm !== was.lastTerm) fields.push(`last ${is.last}/t${is.lastTerm}`);
  if (is.durable !== was.durable) fields.push(`durable ${is.durable}`);
  if (is.commit !== was.commit) fields.push(`commit ${is.commit}`);
  if (is.applied !== was.applied) fields.push(`applied ${is.applied}`);
  if (node.raft.membership !== old.membership) fields.push(`members ${membersText(node.raft.membership)}`);
  const progress = peersText(is);
  if (peers && progress !== peersText(was)) fields.push(`peers ${progress}`);
  return fields;
}

function eventsOf(old: Before, node: TestNode): string[] {
  const lines: string[] = [];
  const { lengths } = old;
  const was: Readonly<Record<string, number>> = { ...old.inspection.counters };
  for (const [name, count] of Object.entries(node.raft.inspect().counters)) {
    const grown = count - (was[name] ?? 0);
    if (grown > 0) lines.push(`counts ${name}${grown > 1 ? ` ×${grown}` : ""}`);
  }
  const applied = node.state.slice(lengths.state).flatMap(appliedText);
  if (applied.length > 0) lines.push(`applies ${applied.join(", ")}`);
  for (const { index, term } of node.restores.slice(lengths.restores)) lines.push(`may restore ${index}/t${term}`);
  for (const { key, index } of node.readStates.slice(lengths.readStates)) {
    lines.push(`read #${key.sequence} at ${index}`);
  }
  for (const { kind, firstKey, count, reason } of node.dropped.slice(lengths.dropped)) {
    const many = count > 1 ? ` ×${count}` : "";
    lines.push(`drops ${kind} #${firstKey.sequence}${many}: ${reason}`);
  }
  for (const { to } of node.snapshotRequests.slice(lengths.snapshotRequests)) lines.push(`snapshot wanted for ${to}`);
  for (const t of node.transfers.slice(lengths.transfers)) {
    const reason = t.reason === undefined ? "" : ` (${t.reason})`;
    lines.push(`transfer to ${t.target} ${t.outcome}${reason}, leader ${t.leaderId} t${t.term}`);
  }
  if (node.removed !== old.removed) lines.push(`told to stop: ${node.removed}`);
  return lines;
}

/** Of a line "index:term:command"; nothing for the leader's empty entries and for membership changes. */
function appliedText(line: string): string[] {
  const [index, , text = ""] = line.split(":");
  return /^[\x20-\x7e]+$/.test(text) ? [`${index} "${text}"`] : [];
}

export function membersText(m: Membership): string {
  const parts = [[...m.voters.keys()].join(" ")];
  if (m.nonVotings.size > 0) parts.push(`non-voting ${[...m.nonVotings.keys()].join(" ")}`);
  if (m.witnesses.size > 0) parts.push(`witness ${[...m.witnesses.keys()].join(" ")}`);
  if (m.removed.size > 0) parts.push(`removed ${[...m.removed].join(" ")}`);
  if (m.lineage > 0) parts.push(`lineage ${m.lineage}`);
  return parts.join(", ");
}

function peersText(i: Inspection): string {
  return i.peers
    .map((p) => {
      const flight = p.inflightMessages > 0 ? `+${p.inflightMessages}` : "";
      return `${p.replicaId}:${p.state} ${p.match}/${p.next}${flight}`;
    })
    .join(" ");
}

export function updateText(update: RaftUpdate): string {
  const { term, vote, commit } = update.hardState;
  const parts = [`t${term} vote ${vote} commit ${commit}`];
  if (update.snapshot !== undefined) {
    parts.push(`reset to ${update.snapshot.meta.index}/t${update.snapshot.meta.term}`);
  }
  for (const block of update.blocks) parts.push(`${block.first}…${block.last}/t${block.term}`);
  return parts.join(", ");
}

export function messageText(m: Message, lost: boolean): string {
  return describeMessage(m) + (lost ? " (lost)" : "");
}
