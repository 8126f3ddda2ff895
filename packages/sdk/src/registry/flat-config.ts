// A nested configuration as a list of settings, each under one key: `model.backbone.filters`.

const PLAIN_KEY = /^[A-Za-z0-9_-]+$/;

/**
 * Settings in the order they are written in. Objects are followed; so are lists that hold objects (`heads[0].name`);
 * other lists, and objects and lists with nothing in them, are values.
 */
export function flatConfig(config: Readonly<Record<string, unknown>>): Map<string, unknown> {
  const settings = new Map<string, unknown>();
  const visit = (value: unknown, key: string): void => {
    if (Array.isArray(value) && value.some(isNested)) {
      value.forEach((one, i) => visit(one, `${key}[${i}]`));
      return;
    }
    if (!isNested(value) || Array.isArray(value)) {
      settings.set(key, value);
      return;
    }
    for (const [name, member] of Object.entries(value)) visit(member, joined(key, name));
  };
  for (const [name, member] of Object.entries(config)) visit(member, joined("", name));
  return settings;
}

function isNested(value: unknown): value is object {
  return typeof value === "object" && value !== null && Object.keys(value).length > 0;
}

/** Names that are no words are quoted, so that no two settings share a key. */
function joined(key: string, name: string): string {
  if (!PLAIN_KEY.test(name)) return `${key}[${JSON.stringify(name)}]`;
  return key === "" ? name : `${key}.${name}`;
}
