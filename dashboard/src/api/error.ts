/** Something the server refused, or that did not reach it. `code` is the server's, or one that the client gives. */
export class ApiError extends Error {
  readonly code: string

  constructor(message: string, code: string) {
    super(message)
    this.name = 'ApiError'
    this.code = code
  }

  /** What was thrown while something was asked, as an error that can be told. */
  static of(failed: unknown): ApiError {
    return failed instanceof ApiError ? failed : new ApiError(String(failed), 'UNREADABLE')
  }

  /** Whether the viewer has to sign in, or to sign in again. */
  get wantsSignIn(): boolean {
    return this.code === 'UNAUTHENTICATED'
  }
}
