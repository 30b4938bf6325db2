/** Subjects name the deployment and nothing else can; patterns match as those of the broker do. */
import assert from "node:assert/strict";
import { it } from "node:test";
import fc from "fast-check";
import { isOpError } from "../errors.js";
import { InterestTrie } from "./broker-interest.js";
import {
  DISCOVER_SUBJECT,
  eventsSubject,
  hostSubject,
  isPattern,
  isSubject,
  probeSubject,
  registryGetSubject,
  registrySubject,
  reportSubject,
  resultSubject,
  subjectMatches,
} from "./subjects.js";

it("every subject but discover carries the deployment", () => {
  assert.equal(reportSubject(7), "drumline.7.report");
  assert.equal(resultSubject(7), "drumline.7.result");
  assert.equal(hostSubject(7, "2f1c-a"), "drumline.7.host.2f1c-a");
  assert.equal(registrySubject(7), "drumline.7.registry");
  assert.equal(registryGetSubject(7), "drumline.7.registry.get");
  assert.equal(eventsSubject(7), "drumline.7.events");
  assert.equal(probeSubject(7, 3), "drumline.7.probe.3");
  assert.equal(DISCOVER_SUBJECT, "drumline.discover");
});

it("tokens that would change the subject are refused", () => {
  const invalid = (error: unknown): boolean => isOpError(error) && error.code === "DL_ERR_INVALID_ARGUMENT";
  for (const id of [0, -1, 1.5, Number.NaN, 2 ** 53]) assert.throws(() => reportSubject(id), invalid, String(id));
  for (const host of ["", "a.b", "*", ">", "a b", "a\r\n", "ü", "x".repeat(129)]) {
    assert.throws(() => hostSubject(1, host), invalid, host);
    assert.throws(() => probeSubject(1, host), invalid, host);
  }
});

it("matches as the broker's trie does", () => {
  const token = fc.constantFrom("a", "b", "cc");
  const subject = fc.array(token, { minLength: 1, maxLength: 4 }).map((tokens) => tokens.join("."));
  const pattern = fc
    .tuple(fc.array(fc.constantFrom("a", "b", "cc", "*"), { minLength: 1, maxLength: 4 }), fc.boolean())
    .map(([tokens, rest]) => [...tokens, ...(rest ? [">"] : [])].join("."));
  fc.assert(
    fc.property(fc.array(pattern, { maxLength: 6 }), fc.array(subject, { maxLength: 6 }), (patterns, subjects) => {
      const trie = new InterestTrie<{ subject: string; queue: undefined }>();
      const interests = patterns.map((each) => ({ subject: each, queue: undefined }));
      for (const interest of interests) trie.add(interest);
      const check = (): void => {
        for (const each of subjects) {
          const wanted = interests.filter((interest) => subjectMatches(interest.subject, each));
          const found = trie.match(each).plain;
          assert.equal(found.length, wanted.length);
          assert.ok(wanted.every((interest) => found.includes(interest)));
        }
      };
      check();
      for (const gone of interests.splice(0, Math.ceil(interests.length / 2))) trie.remove(gone);
      assert.equal(trie.size, interests.length);
      check();
    }),
    { numRuns: 300 },
  );
});

it("says what is a subject and what a pattern", () => {
  for (const good of ["a", "a.b", "_INBOX.0af.12", "$SYS.x", "a-b.c_d"]) {
    assert.ok(isSubject(good) && isPattern(good), good);
  }
  for (const pattern of ["*", ">", "a.*.b", "a.>", "*.*"])
    assert.ok(!isSubject(pattern) && isPattern(pattern), pattern);
  for (const bad of ["", ".", "a.", ".a", "a..b", "a b", "a\tb", "a\r\n", "é", ">.a", "a*", "a.b>"]) {
    assert.ok(!isSubject(bad) && !isPattern(bad), bad);
  }
});
