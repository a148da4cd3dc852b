/** Tables as people have them, and the columns that are added. */

import { expect, it } from "vitest";
import { decoded, labelled, parseTable } from "../src/page/csv.js";

it("reads commas, semicolons, tabs, quotes and Excel's own line", () => {
  for (const text of [
    'a,b\n1,"x, ""y""\nz"\n\n',
    'a;b\r\n1;"x, ""y""\nz"\r\n',
    'a\tb\n1\t"x, ""y""\nz"\n , \n'.replace("\n , \n", "\n"),
    'sep=;\r\na;b\r\n1;"x, ""y""\nz"\r\n',
  ]) {
    expect(parseTable("t", text)).toEqual({
      name: "t",
      columns: ["a", "b"],
      rows: [["1", 'x, "y"\nz']],
    });
  }
  expect(parseTable("t", "text\nonly one column\nanother").rows).toEqual([
    ["only one column"],
    ["another"],
  ]);
  expect(parseTable("t", "a,b\n1").rows).toEqual([["1", ""]]);
});

it("says what is wrong with a table, in one line", () => {
  expect(() => parseTable("t.csv", "")).toThrow("t.csv has no rows");
  expect(() => parseTable("t.csv", "a,b\n")).toThrow("has no rows");
  expect(() => parseTable("t.csv", "a,b,a\n1,2,3")).toThrow("two columns are named “a”");
  expect(() => parseTable("t.csv", "a,b\n1,2\n1,2,3")).toThrow("row 3 has more cells");
  expect(() => parseTable("t.csv", 'a,b\n1,"2')).toThrow("row 2");
});

it("reads what Excel and Windows write, or says how to save it again", async () => {
  const utf16 = Buffer.from("\ufeffé,b", "utf16le");
  expect(await decoded(new File([utf16], "t"))).toBe("é,b");
  expect(await decoded(new File(["\ufeffé"], "t"))).toBe("é");
  await expect(decoded(new File([Buffer.from("é", "latin1")], "t.csv"))).rejects.toThrow(
    "t.csv is not UTF-8",
  );
});

it("adds columns, and takes names that are free", () => {
  const table = parseTable("t", "text,label,predicted_label\na,x,y\n,x,y\n");
  const answer = {
    label: "yes",
    probabilities: { yes: 0.75, no: 0.25 },
    unsure: false,
    shortened: true,
  };
  const csv = labelled(table, [answer, { error: "the input is empty" }], true);
  expect(parseTable("t", csv)).toMatchObject({
    columns: [
      "text",
      "label",
      "predicted_label",
      "predicted_predicted_label",
      "probability",
      "shortened",
      "error",
    ],
    rows: [
      ["a", "x", "y", "yes", "0.75", "true", ""],
      ["", "x", "y", "", "", "", "the input is empty"],
    ],
  });
  const unsure = labelled(table, [{ ...answer, label: null, unsure: true }], false);
  expect(unsure.split("\r\n")[1]).toBe("a,x,y,,0.75,true,true,");
});
