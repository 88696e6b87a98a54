declare module 'node-gyp-build' {
  /** Loads the addon of the package in `folder`: its build, or the prebuilt one for this platform. Throws where there is none. */
  function load(folder: string): unknown;
  namespace load {
    /** The file that it would load. Throws where there is none. */
    function resolve(folder: string): string;
  }
  export = load;
}
