/**
 * Errors as S3 speaks them: a code from S3's own table, an HTTP status, and a message for people.
 * They never leave the store as anything but S3's XML, so they are kept apart from the project's
 * own error codes.
 */

const table = {
  AccessControlListNotSupported: [400, "The bucket does not allow ACLs."],
  AccessDenied: [403, "Access Denied"],
  AuthorizationHeaderMalformed: [400, "The authorization header is malformed."],
  AuthorizationQueryParametersError: [400, "The query string authorization is malformed."],
  BadDigest: [400, "The Content-MD5 or checksum value that you specified did not match the body."],
  BucketAlreadyOwnedByYou: [409, "The bucket exists already and you own it."],
  BucketNotEmpty: [409, "The bucket you tried to delete is not empty."],
  ConditionalRequestConflict: [
    409,
    "A conflicting operation changed the object while this request was running. Try again.",
  ],
  EntityTooLarge: [400, "Your proposed upload exceeds the maximum allowed size."],
  EntityTooSmall: [400, "Your proposed upload is smaller than the minimum allowed size."],
  IncompleteBody: [400, "The body ended before the number of bytes announced in its headers."],
  InsufficientStorage: [507, "The store's disk is full. Free space on it, then try again."],
  InternalError: [500, "The store failed on this request. Its log has the cause."],
  InvalidAccessKeyId: [403, "The access key id you provided does not exist in this store."],
  InvalidArgument: [400, "Invalid Argument"],
  InvalidBucketName: [400, "The specified bucket is not valid."],
  InvalidDigest: [400, "The Content-MD5 you specified is not valid."],
  InvalidObjectState: [403, "The operation is not valid for the object's state."],
  InvalidPart: [
    400,
    "One or more of the specified parts could not be found, or its ETag did not match.",
  ],
  InvalidPartNumber: [416, "The requested partnumber is not satisfiable"],
  InvalidPartOrder: [400, "The list of parts was not in ascending order. Order it by part number."],
  InvalidRange: [416, "The requested range is not satisfiable"],
  InvalidRequest: [400, "Invalid Request"],
  InvalidStorageClass: [400, "The storage class you specified is not valid."],
  InvalidTag: [400, "The tag provided was not a valid tag."],
  InvalidURI: [400, "Could not parse the specified URI."],
  KeyTooLongError: [400, "Your key is too long: at most 1024 bytes of UTF-8."],
  MalformedXML: [
    400,
    "The XML you provided was not well formed or did not validate against our published schema.",
  ],
  MaxMessageLengthExceeded: [400, "Your request was too big."],
  MetadataTooLarge: [400, "Your metadata headers exceed the maximum allowed size of 2 KB."],
  MethodNotAllowed: [405, "The specified method is not allowed against this resource."],
  MissingContentLength: [411, "You must provide the Content-Length HTTP header."],
  MissingSecurityHeader: [400, "Your request is missing a required header."],
  NoSuchBucket: [404, "The specified bucket does not exist"],
  NoSuchBucketPolicy: [404, "The bucket policy does not exist"],
  NoSuchCORSConfiguration: [404, "The CORS configuration does not exist"],
  NoSuchKey: [404, "The specified key does not exist."],
  NoSuchLifecycleConfiguration: [404, "The lifecycle configuration does not exist"],
  NoSuchPublicAccessBlockConfiguration: [
    404,
    "The public access block configuration was not found",
  ],
  NoSuchTagSet: [404, "The TagSet does not exist"],
  NoSuchUpload: [
    404,
    "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.",
  ],
  NoSuchVersion: [404, "The specified version does not exist."],
  NoSuchWebsiteConfiguration: [404, "The specified bucket does not have a website configuration"],
  NotImplemented: [
    501,
    "A header or parameter you provided implies functionality this store lacks.",
  ],
  ObjectLockConfigurationNotFoundError: [
    404,
    "Object Lock configuration does not exist for this bucket",
  ],
  PreconditionFailed: [412, "At least one of the pre-conditions you specified did not hold"],
  ReplicationConfigurationNotFoundError: [404, "The replication configuration was not found"],
  RequestTimeTooSkewed: [
    403,
    "The difference between the request time and the server's time is too large.",
  ],
  RequestTimeout: [
    400,
    "Your socket connection to the server was not read from or written to within the timeout period.",
  ],
  ServerSideEncryptionConfigurationNotFoundError: [
    404,
    "The server side encryption configuration was not found",
  ],
  ServiceUnavailable: [503, "The store is shutting down. Try again in a moment."],
  SignatureDoesNotMatch: [
    403,
    "The request signature we calculated does not match the signature you provided. Check your key and signing method.",
  ],
  XAmzContentSHA256Mismatch: [
    400,
    "The provided 'x-amz-content-sha256' header does not match what was computed.",
  ],
} as const satisfies Record<string, readonly [status: number, message: string]>;

/** A code of S3's error table that this store can answer with. */
export type S3ErrorCode = keyof typeof table;

/** What an {@link S3Error} may carry beside its code. */
export interface S3ErrorInit {
  readonly message?: string;
  /** Elements added to the XML, such as `{ ArgumentName: "max-keys" }`. */
  readonly details?: Readonly<Record<string, string>>;
  /** Headers added to the response. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly cause?: unknown;
}

/** An error that is answered to an S3 client as S3's XML. */
export class S3Error extends Error {
  override readonly name = "S3Error";
  readonly code: S3ErrorCode;
  readonly status: number;
  readonly details: Readonly<Record<string, string>>;
  readonly headers: Readonly<Record<string, string>>;

  constructor(code: S3ErrorCode, init: S3ErrorInit = {}) {
    super(init.message ?? table[code][1], { cause: init.cause });
    this.code = code;
    this.status = table[code][0];
    this.details = init.details ?? {};
    this.headers = init.headers ?? {};
  }
}

/**
 * Turns anything thrown inside the store into what the client is told: S3 errors pass, a full disk
 * becomes `InsufficientStorage`, everything else `InternalError` with its cause kept for the log.
 */
export function toS3Error(error: unknown): S3Error {
  if (error instanceof S3Error) return error;
  if (isDiskFull(error)) return new S3Error("InsufficientStorage", { cause: error });
  return new S3Error("InternalError", { cause: error });
}

/** https://www.sqlite.org/rescode.html#full */
const SQLITE_FULL = 13;

function isDiskFull(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  if ("code" in error && (error.code === "ENOSPC" || error.code === "EDQUOT")) return true;
  return "errcode" in error && error.errcode === SQLITE_FULL;
}
