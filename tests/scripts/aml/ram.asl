// A program of a hostile host: it reads the guest's memory, where QEMU left the command line, tells it the host, and writes to it.
DefinitionBlock ("", "SSDT", 2, "HOST", "RAM", 1)
{
    OperationRegion (RPRT, SystemIO, 0xE9, 1)
    Field (RPRT, ByteAcc, NoLock, Preserve) { ROUT, 8 }
    OperationRegion (RMEM, SystemMemory, 0x00020000, 8)
    Field (RMEM, ByteAcc, NoLock, Preserve) { R000, 8, R001, 8, R002, 8, R003, 8, R004, 8, R005, 8 }
    ROUT = 0x52 // R: it runs
    ROUT = R000
    ROUT = R001
    ROUT = R002
    ROUT = R003
    ROUT = R004
    ROUT = R005
    R000 = 0x57 // W
    ROUT = R000
}
