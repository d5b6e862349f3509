/// <reference types="vite/client" />
declare const __VERSION__: string;
declare module "@niivue/dcm2niix" {
  export class Dcm2niix {
    init(): Promise<boolean>;
    input(files: File[]): { run(): Promise<File[]> };
  }
}
