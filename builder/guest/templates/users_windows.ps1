# Local accounts. One that exists is brought to what is asked for; its password stays.

# Nobody knows it: who shall log in by password gets one set later. The end satisfies every password policy
function New-RandomPassword {
    $bytes = New-Object byte[] 36
    $source = [System.Security.Cryptography.RandomNumberGenerator]::Create()
    $source.GetBytes($bytes)
    $source.Dispose()
    ConvertTo-SecureString -String ([Convert]::ToBase64String($bytes) + 'aA1!') -AsPlainText -Force
}

# Set-BuildUser NAME COMMENT DISABLED: a disabled account can't log in at all
function Set-BuildUser([string]$Name, [string]$Comment = '', [bool]$Disabled = $false) {
    $account = Get-LocalUser | Where-Object { $_.Name -eq $Name }
    if ($null -eq $account) {
        $account = New-LocalUser -Name $Name -Password (New-RandomPassword) -PasswordNeverExpires -AccountNeverExpires
        Write-Output "made user $Name"
    }
    if ($Comment) { Set-LocalUser -Name $Name -FullName $Comment }
    if ($Disabled) { Disable-LocalUser -Name $Name }
}

function Add-BuildMember([string]$Name, [string]$Group) {
    $user = Get-LocalUser -Name $Name
    $members = @(Get-LocalGroupMember -Group $Group | ForEach-Object { "$($_.SID)" })
    if ($members -notcontains "$($user.SID)") { Add-LocalGroupMember -Group $Group -Member $user }
}

# The folder of a profile; a folder made by hand would not become it, and Windows would make another beside it
function Get-ProfileFolder($User) {
    $key = "HKLM:\SOFTWARE\Microsoft\Windows NT\CurrentVersion\ProfileList\$($User.SID)"
    if (-not (Test-Path -LiteralPath $key)) {
        $userenv = Add-Type -Namespace Build -Name Userenv -PassThru -MemberDefinition @'
[DllImport("userenv.dll", CharSet = CharSet.Unicode)]
public static extern int CreateProfile(string sid, string name, System.Text.StringBuilder path, uint size);
'@
        $path = New-Object System.Text.StringBuilder 260
        $status = $userenv::CreateProfile("$($User.SID)", $User.Name, $path, [uint32]$path.Capacity)
        if ($status -ne 0) { throw ('no profile could be made for {0} (0x{1:X8})' -f $User.Name, $status) }
    }
    (Get-Item -LiteralPath $key).GetValue('ProfileImagePath')
}

# Only these may change the file, or sshd doesn't believe it. By number: names of groups are translated
function Protect-Keys([string]$File, [string[]]$Owners) {
    $rights = New-Object System.Security.AccessControl.FileSecurity
    $rights.SetAccessRuleProtection($true, $false)
    foreach ($owner in $Owners) {
        $sid = New-Object System.Security.Principal.SecurityIdentifier $owner
        $rule = New-Object System.Security.AccessControl.FileSystemAccessRule $sid, 'FullControl', 'Allow'
        $rights.AddAccessRule($rule)
    }
    Set-Acl -LiteralPath $File -AclObject $rights
}

# Add-BuildKeys NAME KEYS: public keys may log in. sshd reads those of administrators from one file for all of them
function Add-BuildKeys([string]$Name, [string[]]$Keys) {
    $system, $administrators = 'S-1-5-18', 'S-1-5-32-544'
    $user = Get-LocalUser -Name $Name
    $members = @(Get-LocalGroupMember -SID $administrators | ForEach-Object { "$($_.SID)" })
    if ($members -contains "$($user.SID)") {
        $file = Join-Path $env:ProgramData 'ssh\administrators_authorized_keys'
        $owners = $system, $administrators
    } else {
        $file = Join-Path (Get-ProfileFolder -User $user) '.ssh\authorized_keys'
        $owners = $system, $administrators, "$($user.SID)"
    }
    $null = [System.IO.Directory]::CreateDirectory((Split-Path -Parent $file))
    $known = @(if (Test-Path -LiteralPath $file) { [System.IO.File]::ReadAllLines($file) })
    $all = $known + @($Keys | Where-Object { $known -cnotcontains $_ })
    [System.IO.File]::WriteAllLines($file, [string[]]$all, (New-Object System.Text.UTF8Encoding $false))
    Protect-Keys -File $file -Owners $owners
    Write-Output "$($Keys.Count) SSH keys for $Name in $file"
}
