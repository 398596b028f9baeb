// A program as honest firmware has it: it asks a device of the machine, its timer, what it is.
DefinitionBlock ("", "SSDT", 2, "HOST", "DEVICE", 1)
{
    OperationRegion (DPRT, SystemIO, 0xE9, 1)
    Field (DPRT, ByteAcc, NoLock, Preserve) { DOUT, 8 }
    OperationRegion (DTMR, SystemMemory, 0xFED00000, 8)
    Field (DTMR, DWordAcc, NoLock, Preserve) { , 16, DVEN, 16 }
    DOUT = 0x44 // D: it runs
    If (DVEN == 0x8086) { DOUT = 0x64 } // d: the timer answered
}
