/** Rules for JSON values that come from anywhere: each returns the value, or throws BundleError. */

import { need } from "./errors.js";

export type Rule<T> = (value: unknown, where: string) => T;

const MAX_TEXT = 65_536;

/** A text of 1 to `limit` characters, without lone surrogates. */
export function text(limit: number = MAX_TEXT): Rule<string> {
  return (value, where) => {
    const good = typeof value === "string" && value.length > 0 && value.length <= 2 * limit;
    need(good, `${where} must be text of 1 to ${limit} characters`);
    need(value.isWellFormed(), `${where} is not valid Unicode text`);
    need([...value].length <= limit, `${where} must be text of 1 to ${limit} characters`);
    return value;
  };
}

export function whole(low: number, high: number): Rule<number> {
  return (value, where) => {
    const good = Number.isInteger(value) && (value as number) >= low && (value as number) <= high;
    need(good, `${where} must be a whole number from ${low} to ${high}`);
    return value as number;
  };
}

export const finite: Rule<number> = (value, where) => {
  need(typeof value === "number" && Math.abs(value) <= 1e30, `${where} must be a finite number`);
  return value;
};

export function oneOf<T>(...allowed: T[]): Rule<T> {
  return (value, where) => {
    need(allowed.includes(value as T), `${where} must be one of ${allowed.join(", ")}`);
    return value as T;
  };
}

export function maybe<T>(rule: Rule<T>): Rule<T | null> {
  return (value, where) => (value === null || value === undefined ? null : rule(value, where));
}

export function list<T>(rule: Rule<T>, most: number): Rule<T[]> {
  return (value, where) => {
    need(
      Array.isArray(value) && value.length <= most,
      `${where} must be a list of at most ${most}`,
    );
    return value.map((one, place) => rule(one, `${where}[${place}]`));
  };
}

export function object(value: unknown, where: string): Record<string, unknown> {
  need(
    value !== null && typeof value === "object" && !Array.isArray(value),
    `${where} must be an object`,
  );
  return value as Record<string, unknown>;
}

/** An object of any keys; a Map, as a key may be `__proto__`. */
export function mapped<T>(rule: Rule<T>): Rule<Map<string, T>> {
  return (value, where) =>
    new Map(
      Object.entries(object(value, where)).map(([name, one]) => [
        name,
        rule(one, `${where}.${name.slice(0, 40)}`),
      ]),
    );
}

/** The value of a key that must be there, checked. */
export function key<T>(raw: Record<string, unknown>, name: string, rule: Rule<T>): T {
  need(Object.hasOwn(raw, name), `'${name}' is missing`);
  return rule(raw[name], name);
}
