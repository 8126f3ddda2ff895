/**
 * What a request claims about its signature: the pieces of an `Authorization` header or of an
 * `X-Amz-Credential` parameter, and the errors S3 gives when they cannot be read.
 */
import { S3Error } from "../s3-error.ts";
import { ALGORITHM, type Scope } from "./canonical.ts";

export interface Claim {
  readonly accessKeyId: string;
  readonly scope: Scope;
  readonly signedHeaders: readonly string[];
  readonly signature: string;
}

/** Reads an `Authorization` header of Signature Version 4. */
export function parseAuthorization(text: string): Claim {
  const [type = "", ...rest] = text.trim().split(" ");
  if (type === "") throw new S3Error("AccessDenied");
  if (type === "AWS") throw unsupportedMechanism();
  const fieldText = rest.join(" ").trim();
  if (fieldText === "") {
    throw invalidAuthorization(
      "Authorization header is invalid -- one and only one ' ' (space) required.",
      text,
    );
  }
  if (type !== ALGORITHM) throw invalidAuthorization("Unsupported Authorization Type", type);
  const fields = new Map<string, string>();
  const components = fieldText.split(",");
  if (components.length !== 3) {
    throw malformedHeader(
      "the authorization header requires three components: Credential, SignedHeaders, and Signature.",
    );
  }
  for (const component of components) {
    const [name, ...value] = component.trim().split("=");
    if (!name || value.length === 0) {
      throw malformedHeader(`the authorization component "${component.trim()}" is malformed.`);
    }
    fields.set(name, value.join("="));
  }
  const required = (name: string): string => {
    const value = fields.get(name);
    if (!value) throw malformedHeader(`missing ${name}.`);
    return value;
  };
  return {
    ...parseCredential(required("Credential"), malformedHeader),
    signedHeaders: required("SignedHeaders").split(";"),
    signature: required("Signature"),
  };
}

/**
 * Reads `access-key/date/region/s3/aws4_request`.
 *
 * @param malformed makes the error, which differs between header and query
 */
export function parseCredential(
  text: string,
  malformed: (problem: string) => S3Error,
): Pick<Claim, "accessKeyId" | "scope"> {
  const [accessKeyId, date, region, service, terminator, ...rest] = text.split("/");
  if (!accessKeyId || !date || !region || !service || !terminator || rest.length > 0) {
    throw malformed(
      'the Credential is mal-formed; expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".',
    );
  }
  if (terminator !== "aws4_request") {
    throw malformed(`incorrect terminal "${terminator}". This endpoint uses "aws4_request".`);
  }
  if (service !== "s3") {
    throw malformed(`incorrect service "${service}". This endpoint belongs to "s3".`);
  }
  if (!/^\d{8}$/.test(date)) {
    throw malformed(
      `incorrect date format "${date}". This date in the credential must be in the format "yyyyMMdd".`,
    );
  }
  return { accessKeyId, scope: { date, region, service } };
}

export function malformedHeader(problem: string): S3Error {
  return new S3Error("AuthorizationHeaderMalformed", {
    message: `The authorization header is malformed; ${problem}`,
  });
}

export function malformedQuery(message: string): S3Error {
  return new S3Error("AuthorizationQueryParametersError", { message });
}

export function malformedCredentialParameter(problem: string): S3Error {
  return malformedQuery(`Error parsing the X-Amz-Credential parameter; ${problem}`);
}

function invalidAuthorization(message: string, value: string): S3Error {
  return new S3Error("InvalidArgument", {
    message,
    details: { ArgumentName: "Authorization", ArgumentValue: value },
  });
}

export function unsupportedMechanism(): S3Error {
  return new S3Error("InvalidRequest", {
    message:
      "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
  });
}
