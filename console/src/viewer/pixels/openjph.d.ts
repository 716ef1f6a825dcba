declare module '@cornerstonejs/codec-openjph' {
  interface FrameInfo {
    width: number
    height: number
    bitsPerSample: number
    componentCount: number
    isSigned: boolean
    isUsingColorTransform: boolean
  }
  interface HTJ2KDecoder {
    getEncodedBuffer(length: number): Uint8Array
    getDecodedBuffer(): Uint8Array<ArrayBuffer>
    readHeader(): void
    decode(): void
    decodeSubResolution(level: number): void
    calculateSizeAtDecompositionLevel(level: number): { width: number; height: number }
    getFrameInfo(): FrameInfo
    delete(): void
  }
  const make: (options: {
    locateFile: (path: string) => string
    print: (text: string) => void
    printErr: (text: string) => void
  }) => Promise<{ HTJ2KDecoder: new () => HTJ2KDecoder }>
  export default make
}

declare module '@cornerstonejs/codec-openjph/wasm?url' {
  const url: string
  export default url
}
